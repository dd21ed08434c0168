import pytest

from deployments.llm.stops import Reply, TextAssembler
from deployments.messages import GenerationEnd, TextDelta


def _shown(pieces: list[bytes], stop: tuple[str, ...], *, strip_start: bool = False) -> list[str]:
    text = TextAssembler(stop, strip_start=strip_start)
    return [*(text.feed(piece) for piece in pieces), text.flush()]


@pytest.mark.parametrize(
    ("pieces", "stop", "shown"),
    [
        ([], (), [""]),
        ([b"a", b"b"], (), ["a", "b", ""]),
        ([b"a", b"b"], ("",), ["a", "b", ""]),
        # A character in several tokens
        ([b"caf\xc3", b"\xa9!"], (), ["caf", "é!", ""]),
        ([b"\xf0\x9f", b"\x98", b"\x80"], (), ["", "", "😀", ""]),
        ([b"a\xff", b"b"], (), ["a\ufffd", "b", ""]),
        ([b"\xe2\x82", b"x"], (), ["", "\ufffdx", ""]),
        ([b"end\xe2\x82"], (), ["end", ""]),
        # Stop strings
        ([b"one STOP two"], ("STOP",), ["one ", ""]),
        ([b"one ST", b"OP two", b"x"], ("STOP",), ["one ", "", "", ""]),
        ([b"one ST", b"AR"], ("STOP",), ["one ", "STAR", ""]),
        ([b"one S"], ("STOP",), ["one ", "S"]),
        ([b"SSS", b"TOP"], ("STOP",), ["SS", "", ""]),
        ([b"STO", b"STOP"], ("STOP",), ["", "STO", ""]),
        ([b"aab", b"aac"], ("aabaac",), ["", "", ""]),
        ([b"aaba", b"abaac"], ("aabaac",), ["", "aab", ""]),
        ([b"xab", b"c"], ("abc", "b"), ["xa", "", ""]),
        ([b"x\n", b"\nUser", b":"], ("\nUser:",), ["x", "\n", "", ""]),
        (["Hé".encode()[:2], "Hé".encode()[2:], b"lp"], ("él",), ["H", "", "", ""]),
        ([b"STOP"], ("STOP",), ["", ""]),
    ],
)
def test_text_is_shown_as_soon_as_it_is_known_to_be_text(
    pieces: list[bytes], stop: tuple[str, ...], shown: list[str]
) -> None:
    assert _shown(pieces, stop) == shown


def test_a_stop_string_is_found_however_it_is_split() -> None:
    whole = "Über <|end|> nothing".encode()
    for size in range(1, len(whole) + 1):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert "".join(_shown(pieces, ("<|end|>", "<|start|>"))) == "Über "


def test_the_space_before_a_reply_is_dropped_where_asked() -> None:
    assert _shown([b" ", b"\n Pa", b" ris "], (), strip_start=True) == ["", "Pa", " ris ", ""]


def test_a_stop_string_at_the_start_is_seen_before_its_space_is_dropped() -> None:
    assert _shown([b"\nUser:"], ("\nUser:",), strip_start=True) == ["", ""]


def test_a_reply_counts_the_tokens_of_what_it_shows() -> None:
    reply = Reply(TextAssembler(("STOP",)), 10)
    deltas = [delta for piece in (b"a", b"S", b"T", b"b") for delta in reply.add(piece)]
    assert deltas == [TextDelta("a", 1), TextDelta("STb", 3)]
    assert reply.finish_reason is None
    assert list(reply.close(7)) == [GenerationEnd("stop", 7, 4)]


def test_a_reply_is_over_at_its_last_allowed_token() -> None:
    reply = Reply(TextAssembler(("STOP",)), 2)
    assert list(reply.add(b"a")) == [TextDelta("a", 1)]
    assert list(reply.add(b"S")) == []
    assert reply.finish_reason == "length"
    assert list(reply.close(7)) == [TextDelta("S", 1), GenerationEnd("length", 7, 2)]


def test_a_stop_string_in_the_last_allowed_token_is_the_reason() -> None:
    reply = Reply(TextAssembler(("b",)), 1)
    assert list(reply.add(b"ab")) == [TextDelta("a", 1)]
    assert list(reply.close(1)) == [GenerationEnd("stop", 1, 1)]
