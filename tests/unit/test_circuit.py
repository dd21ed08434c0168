"""An engine that keeps failing is left alone, and tried again by one call at a time."""

import threading

from deployments.circuit import Circuit


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock, told: list[bool] | None = None) -> Circuit:
    """A circuit that two failures have opened, for ten seconds."""
    circuit = Circuit(2, 10.0, clock, (told if told is not None else []).append)
    for _ in range(2):
        attempt = circuit.enter()
        assert attempt is not None
        attempt.failed()
    return circuit


def test_failures_in_a_row_open_it() -> None:
    told: list[bool] = []
    circuit = broken(Clock(), told)
    assert circuit.enter() is None
    assert told == [True]


def test_a_success_between_failures_keeps_it_closed() -> None:
    circuit = Circuit(2, 10.0, Clock())
    for _ in range(5):
        for end in ("failed", "worked"):
            attempt = circuit.enter()
            assert attempt is not None
            getattr(attempt, end)()


def test_what_says_nothing_of_the_engine_changes_nothing() -> None:
    circuit = Circuit(2, 10.0, Clock())
    for end in ("failed", "left", "left", "left"):
        attempt = circuit.enter()
        assert attempt is not None
        getattr(attempt, end)()
    last = circuit.enter()
    assert last is not None
    last.failed()
    assert circuit.enter() is None


def test_after_its_time_one_call_tries_and_closes_it() -> None:
    clock, told = Clock(), []
    circuit = broken(clock, told)
    clock.now += 9.9
    assert circuit.enter() is None
    clock.now += 0.1
    probe = circuit.enter()
    assert probe is not None
    assert circuit.enter() is None
    probe.worked()
    assert circuit.enter() is not None
    assert told == [True, False]


def test_a_probe_that_fails_opens_it_anew() -> None:
    clock = Clock()
    circuit = broken(clock)
    clock.now += 10
    probe = circuit.enter()
    assert probe is not None
    probe.failed()
    clock.now += 9.9
    assert circuit.enter() is None
    clock.now += 0.1
    assert circuit.enter() is not None


def test_a_probe_that_is_cancelled_leaves_its_place() -> None:
    clock = Clock()
    circuit = broken(clock)
    clock.now += 10
    probe = circuit.enter()
    assert probe is not None
    probe.left()
    assert circuit.enter() is not None


def test_calls_that_began_before_it_opened_take_no_probes_place() -> None:
    clock = Clock()
    circuit = Circuit(1, 10.0, clock)
    early, late = circuit.enter(), circuit.enter()
    assert early is not None
    assert late is not None
    early.failed()
    clock.now += 10
    assert circuit.enter() is not None
    late.left()
    late.failed()
    assert circuit.enter() is None


def test_of_many_threads_one_is_the_probe() -> None:
    clock = Clock()
    circuit = broken(clock)
    clock.now += 10
    entered: list[object] = []
    barrier = threading.Barrier(16)

    def enter() -> None:
        barrier.wait()
        if attempt := circuit.enter():
            entered.append(attempt)

    threads = [threading.Thread(target=enter) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1
