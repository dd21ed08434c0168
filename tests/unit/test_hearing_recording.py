"""The bounded recording of a stream."""

import sys

from serve_app.hearing.recording import Recording


def samples(first: int, count: int) -> bytes:
    """Samples whose values tell their positions."""
    return b"".join(
        (position % 30_000).to_bytes(2, "little") for position in range(first, first + count)
    )


def test_a_slice_is_what_was_added_between_two_positions() -> None:
    recording = Recording(100_000)
    sizes = (1, 511, 512, 8_192, 20_000, 3)
    at = 0
    for size in sizes:
        recording.append(samples(at, size))
        at += size
    assert len(recording) == recording.end == sum(sizes)
    for start, end in ((0, 1), (0, at), (8_000, 8_200), (8_192, 16_384), (16_383, 25_001)):
        audio = recording.slice(start, end)
        assert audio.sample_rate == 16_000
        assert audio.samples == samples(start, end - start)


def test_the_oldest_samples_go_where_there_is_no_room() -> None:
    recording = Recording(10_000)
    recording.append(samples(0, 25_000))
    recording.append(samples(25_000, 100))
    assert (recording.start, recording.end, len(recording)) == (15_100, 25_100, 10_000)
    assert recording.slice(0, 99_999).samples == samples(15_100, 10_000)


def test_what_is_forgotten_is_no_longer_there() -> None:
    recording = Recording(100_000)
    recording.append(samples(0, 20_000))
    recording.forget_before(9_000)
    recording.forget_before(8_000)
    assert recording.start == 9_000
    assert recording.slice(0, 9_010).samples == samples(9_000, 10)
    recording.forget_before(50_000)
    assert len(recording) == 0
    assert recording.slice(0, 50_000).samples == b""
    recording.append(samples(20_000, 5))
    assert recording.slice(0, 50_000).samples == samples(20_000, 5)


def test_a_slice_of_nothing_is_empty() -> None:
    recording = Recording(100)
    assert recording.slice(0, 10).samples == b""
    recording.append(samples(0, 10))
    assert recording.slice(7, 3).samples == recording.slice(10, 20).samples == b""


def test_memory_is_bounded_however_small_the_pieces_are() -> None:
    recording = Recording(16_000)
    for position in range(60_000):
        recording.append(position.to_bytes(2, "little"))
    held = sum(sys.getsizeof(block) for block in recording._blocks)
    assert held < 2 * (16_000 + 2 * 8_192) * 1.2
