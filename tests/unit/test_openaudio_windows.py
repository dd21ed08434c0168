"""A listener never waits once speech is made as fast as it sounds."""

import pytest

from deployments.tts.openaudio.windows import Windows

FRAME_S = 2048 / 44_100


def windows_of(factor: float, decode_s: float, frames: int) -> tuple[list[int], float]:
    """Speech at a real-time factor, decoded at a cost: the sizes, and seconds that a listener waited."""
    windows = Windows(4, 16, FRAME_S)
    now, made, sent, waited = 0.0, 0, 0, 0.0
    heard_until: float | None = None
    sizes: list[int] = []
    while sent < frames:
        size = windows.size(now)
        sizes.append(size)
        made += size
        now = max(now, made * factor * FRAME_S) + decode_s
        windows.sent(size, now)
        sent += size
        if heard_until is None:
            heard_until = now
        waited += max(0.0, now - heard_until)
        heard_until = max(heard_until, now) + size * FRAME_S
    return sizes, waited


@pytest.mark.parametrize("factor", [0.05, 0.3, 0.5, 0.7, 0.9])
def test_nobody_waits_after_the_first_sound(factor: float) -> None:
    sizes, waited = windows_of(factor, decode_s=0.01, frames=400)
    assert sizes[0] == 4
    assert waited == 0.0
    assert max(sizes) <= 16


def test_fast_speech_is_decoded_in_large_windows() -> None:
    sizes, _ = windows_of(0.1, decode_s=0.005, frames=400)
    assert sizes[:2] == [4, 4]
    assert sizes[-5:] == [16] * 5


def test_slow_speech_is_sent_as_soon_as_it_can_be() -> None:
    sizes, waited = windows_of(1.5, decode_s=0.01, frames=200)
    assert set(sizes) == {4}
    assert waited > 0


def test_a_pause_of_the_model_makes_windows_small_again() -> None:
    windows = Windows(4, 16, FRAME_S)
    for n in range(10):
        windows.sent(4, n * 0.02)
    assert windows.size(0.2) > 4
    assert windows.size(60.0) == 4
