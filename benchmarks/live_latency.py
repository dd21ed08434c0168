"""How soon a reply is heard: over the bare libraries, over a peer, and whatever its length."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.live_bench import STORYTELLER, LiveBench
from benchmarks.live_turn import Turn, new_session, take_turn
from benchmarks.paced_speech import VAD_RATE, read
from benchmarks.peer_server import DEFAULTS, equal_delay
from benchmarks.serial_turn import BareStages, SerialTurn
from benchmarks.spread import Goal, quartiles, ratio, seconds

_FREE_AGAIN_S = 60.0  # the peer has one line, and keeps it for a while after a call
_SHORT_TOKENS, _LONG_TOKENS = 20, 200
_RETRY_S = 2.0

A = TypeVar("A")
B = TypeVar("B")


def against_serial(bench: LiveBench) -> list[Goal]:
    """Each utterance to the server, and to the libraries one after the other in this process."""
    bare = BareStages(bench.settings)
    instructions = bench.settings.prompts.spoken
    bare.turn(read(bench.path(0), VAD_RATE), instructions)
    served_turn(bench, 0)
    pairs: list[tuple[Turn, SerialTurn]] = []

    def served(i: int) -> Turn:
        return served_turn(bench, i)

    def serial(i: int) -> SerialTurn:
        nonce = new_session(instructions)["instructions"]
        return bare.turn(read(bench.path(i), VAD_RATE), nonce)

    print("\nServed, and the bare libraries one after the other:")
    for i in range(bench.turns):
        turn, alone = alternating(i, served, serial)
        _tell(bench, i, turn)
        print(
            f"      serial: {alone.transcript_s:.2f} + {alone.reply_s:.2f} + {alone.voice_s:.2f} s "
            f"(first sentence after {alone.sentence_s:.2f} s) {alone.transcript[:40]!r}"
        )
        if turn.answered:
            pairs.append((turn, alone))
    _summarise("served", [turn for turn, _ in pairs], bench.turns)
    print(f"serial sum: {seconds([alone.whole_s for _, alone in pairs])}")
    print(f"serial sum, first sentence only: {seconds([alone.streamed_s for _, alone in pairs])}")
    whole = [turn.after_s / alone.whole_s for turn, alone in pairs]
    streamed = [turn.after_s / alone.streamed_s for turn, alone in pairs]
    silence_s = bench.settings.live.silence_ms / 1000
    nominal = [(turn.gap_s - silence_s) / alone.whole_s for turn, alone in pairs]
    print(f"after the endpoint decision / serial sum: {ratio(whole)}")
    print(f"after {silence_s:g} s of silence / serial sum: {ratio(nominal)}")
    print(f"after the endpoint decision / serial sum, first sentence only: {ratio(streamed)}")
    both = [turn.gap_s / (turn.wait_s + alone.whole_s) for turn, alone in pairs]
    print(f"voice to voice / the same wait and the serial sum: {ratio(both)}")
    return [
        Goal("after the endpoint / serial sum", quartiles(whole)[1], 0.6),
        Goal("turns not answered as a whole", bench.turns - len(pairs), 0),
    ]


def against_peer(bench: LiveBench) -> list[Goal]:
    """The same utterances to `speech-to-speech` at its defaults."""
    return _against_peer(bench, "at its defaults", DEFAULTS, 0.5)


def against_peer_equally(bench: LiveBench) -> list[Goal]:
    """The same where on both sides the same silence ends a turn, and nothing else."""
    silence_ms = bench.settings.live.silence_ms
    how = f"where {silence_ms} ms of silence end a turn"
    return _against_peer(bench, how, equal_delay(silence_ms), 0.75)


def _against_peer(bench: LiveBench, how: str, options: tuple[str, ...], limit: float) -> list[Goal]:
    if bench.peer is None:
        print("\nspeech-to-speech is not measured: --peer does not say where it is installed")
        return []
    print(f"\nServed, and speech-to-speech {how} ({' '.join(options) or 'no options'}):")
    pairs: list[tuple[Turn, Turn]] = []
    with bench.peer.serving(options) as url:

        def served(i: int) -> Turn:
            return served_turn(bench, i, unique=bench.unique)

        def peer(i: int) -> Turn:
            return asyncio.run(_peer_turn(bench, url, i))

        served(0)
        peer(0)
        for i in range(bench.turns):
            turn, theirs = alternating(i, served, peer)
            _tell(bench, i, turn)
            _tell(bench, i, theirs, "speech-to-speech")
            if turn.answered and theirs.answered:
                pairs.append((turn, theirs))
    _summarise("served", [turn for turn, _ in pairs], bench.turns)
    _summarise("speech-to-speech", [theirs for _, theirs in pairs], bench.turns)
    ratios = [turn.gap_s / theirs.gap_s for turn, theirs in pairs]
    print(f"voice to voice / speech-to-speech {how}: {ratio(ratios)}")
    return [
        Goal(f"voice to voice / speech-to-speech {how}", quartiles(ratios)[1], limit),
        Goal("turns not answered as a whole", bench.turns - len(pairs), 0),
    ]


async def _peer_turn(bench: LiveBench, url: str, i: int) -> Turn:
    session = new_session(bench.settings.prompts.spoken, unique=bench.unique)
    deadline = asyncio.get_running_loop().time() + _FREE_AGAIN_S
    while True:
        try:
            return await take_turn(url, session, read(bench.path(i)))
        except ConnectionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_RETRY_S)


def reply_length(bench: LiveBench) -> list[Goal]:
    """The same request where 20 tokens may be answered, and where 200 may."""
    story = bench.story()

    def asked(tokens: int, *, to_the_end: bool = False) -> Callable[[int], Turn]:
        def turn(_: int) -> Turn:
            session = new_session(STORYTELLER, max_tokens=tokens)
            return asyncio.run(take_turn(bench.url, session, story, to_the_end=to_the_end))

        return turn

    print(f"\nReplies of {_SHORT_TOKENS} and of {_LONG_TOKENS} tokens:")
    for tokens in (_SHORT_TOKENS, _LONG_TOKENS):
        example = asked(tokens, to_the_end=True)(0)
        print(f"  at most {tokens}: {example.reply_tokens} tokens, {len(example.said)} characters")
    short, long = asked(_SHORT_TOKENS), asked(_LONG_TOKENS)
    pairs = [alternating(i, short, long) for i in range(bench.turns)]
    answered = [(brief, lengthy) for brief, lengthy in pairs if brief.answered and lengthy.answered]
    _summarise("short", [brief for brief, _ in answered], bench.turns)
    _summarise("long", [lengthy for _, lengthy in answered], bench.turns)
    ratios = [lengthy.gap_s / brief.gap_s for brief, lengthy in answered]
    print(f"long / short: {ratio(ratios)}")
    return [Goal("voice to voice, 200 tokens / 20 tokens", quartiles(ratios)[1], 1.05)]


def served_turn(bench: LiveBench, i: int, *, unique: bool = True) -> Turn:
    """One turn with the server."""
    session = new_session(bench.settings.prompts.spoken, unique=unique)
    return asyncio.run(take_turn(bench.url, session, read(bench.path(i))))


def alternating(i: int, one: Callable[[int], A], other: Callable[[int], B]) -> tuple[A, B]:
    """Both; the other goes first in every second turn."""
    if i % 2:
        second = other(i)
        return one(i), second
    return one(i), other(i)


def _tell(bench: LiveBench, i: int, turn: Turn, name: str = "served") -> None:
    print(f"  {i + 1:3} {bench.path(i).stem:24} {name}: {turn}")


def _summarise(name: str, turns: Sequence[Turn], asked: int) -> None:
    over = sum(turn.over_s > 0 for turn in turns)
    print(f"{name}: voice to voice {seconds([turn.gap_s for turn in turns])}")
    print(f"  until the endpoint decision {seconds([turn.wait_s for turn in turns])}")
    print(f"  after it {seconds([turn.after_s for turn in turns])}")
    print(f"  answered as a whole {len(turns)} of {asked}, talked over {over}")
