"""How much a caller may do: rates, debts and leases, on a clock of the test's own."""

import random

import pytest

from deployments.messages import Allowance, KeyLimits
from deployments.state.limits import Limits

UNLIMITED = KeyLimits()


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(clock)


def admitted(limits: Limits, allowed: KeyLimits, times: int, caller: str = "a") -> int:
    """How many of so many requests at once are let through."""
    answers = [limits.admit(caller, allowed, f"lease-{n}") for n in range(times)]
    return sum(answer.refused is None for answer in answers)


# ---- requests -----------------------------------------------------------------------------------


def test_without_a_limit_everything_is_admitted(limits: Limits) -> None:
    assert limits.admit("a", UNLIMITED, "x") == Allowance()
    assert admitted(limits, UNLIMITED, 1000) == 1000


@pytest.mark.parametrize("burst", [1.0, 2.5])
def test_a_quiet_caller_may_use_a_burst_at_once(limits: Limits, burst: float) -> None:
    assert admitted(limits, KeyLimits(requests=10, burst=burst), 100) == 10 * burst


@pytest.mark.parametrize(("requests", "window_s"), [(120, 60.0), (3, 1.0), (1000, 3600.0)])
@pytest.mark.parametrize("every_s", [0.013, 0.5])
def test_the_rate_is_right_within_five_percent(
    clock: Clock, limits: Limits, requests: int, window_s: float, every_s: float
) -> None:
    allowed = KeyLimits(requests=requests, window_s=window_s)
    admitted(limits, allowed, requests)  # the burst of the beginning
    seconds = 20 * window_s if window_s < 100 else window_s
    rate = min(requests / window_s, 1 / every_s)
    count = 0
    for _ in range(int(seconds / every_s)):
        clock.now += every_s
        count += admitted(limits, allowed, 1)
    assert count == pytest.approx(rate * seconds, rel=0.05, abs=1)


def test_the_rate_is_right_for_requests_at_random_times(clock: Clock, limits: Limits) -> None:
    allowed = KeyLimits(requests=60, window_s=60.0)
    admitted(limits, allowed, 60)
    moments, end, count = random.Random(3), clock.now + 2000, 0
    while clock.now < end:
        clock.now += moments.expovariate(5.0)
        count += admitted(limits, allowed, 1)
    assert count == pytest.approx(2000, rel=0.05)


def test_a_refusal_tells_when_the_next_request_will_be_admitted(
    clock: Clock, limits: Limits
) -> None:
    allowed = KeyLimits(requests=4, window_s=60.0)
    admitted(limits, allowed, 4)
    refused = limits.admit("a", allowed, "x")
    assert (refused.refused, refused.retry_after_s) == ("requests", pytest.approx(15.0))
    clock.now += refused.retry_after_s
    assert limits.admit("a", allowed, "x").refused is None


def test_a_refused_request_is_not_counted(clock: Clock, limits: Limits) -> None:
    allowed = KeyLimits(requests=4, window_s=60.0)
    assert admitted(limits, allowed, 1000) == 4
    clock.now += 15.0
    assert admitted(limits, allowed, 2) == 1


def test_what_is_left_and_when_all_of_it_is_back_is_told(clock: Clock, limits: Limits) -> None:
    allowed = KeyLimits(requests=10, window_s=10.0)
    left = [limits.admit("a", allowed, "x") for _ in range(3)][-1]
    assert (left.requests_left, left.requests_reset_s) == (7, pytest.approx(3.0))
    assert (left.audio_left_s, left.concurrent_left) == (None, None)


def test_callers_do_not_share(limits: Limits) -> None:
    allowed = KeyLimits(requests=2)
    assert [admitted(limits, allowed, 5, caller) for caller in ("a", "b")] == [2, 2]


def test_a_lower_limit_holds_at_once(limits: Limits) -> None:
    admitted(limits, KeyLimits(requests=100), 1)
    assert admitted(limits, KeyLimits(requests=5), 50) == 5


def test_two_users_of_one_limits_share_it(clock: Clock, limits: Limits) -> None:
    allowed = KeyLimits(requests=50, window_s=1000.0)
    users = random.Random(1)
    answers = [limits.admit("a", allowed, f"{users.random()}") for _ in range(200)]
    assert sum(answer.refused is None for answer in answers) == 50


# ---- audio --------------------------------------------------------------------------------------


def charge(limits: Limits, allowed: KeyLimits, seconds: float, *, afterwards: bool) -> Allowance:
    return limits.charge("a", allowed, seconds, afterwards=afterwards)


def test_audio_is_counted_in_seconds(limits: Limits) -> None:
    allowed = KeyLimits(audio_s=60.0, window_s=60.0)
    assert charge(limits, allowed, 40, afterwards=False).audio_left_s == pytest.approx(20)
    refused = charge(limits, allowed, 30, afterwards=False)
    assert (refused.refused, refused.retry_after_s) == ("audio", pytest.approx(10))
    assert charge(limits, allowed, 20, afterwards=False).refused is None


def test_audio_charged_afterwards_is_made_up_for_before_the_next_request(
    clock: Clock, limits: Limits
) -> None:
    allowed = KeyLimits(audio_s=60.0, window_s=60.0)
    assert charge(limits, allowed, 90, afterwards=True).refused is None
    refused = limits.admit("a", allowed, "x")
    assert (refused.refused, refused.retry_after_s) == ("audio", pytest.approx(30))
    clock.now += 30
    assert limits.admit("a", allowed, "x").refused is None


def test_audio_longer_than_the_limit_is_let_through_once_and_paid_for(
    clock: Clock, limits: Limits
) -> None:
    allowed = KeyLimits(audio_s=60.0, window_s=60.0)
    assert charge(limits, allowed, 300, afterwards=False).refused is None
    assert limits.admit("a", allowed, "x").retry_after_s == pytest.approx(240)


def test_the_rate_of_audio_is_right_within_five_percent(clock: Clock, limits: Limits) -> None:
    allowed = KeyLimits(audio_s=30.0, window_s=60.0)
    lengths, spoken, end = random.Random(5), 0.0, clock.now + 100_000
    while clock.now < end:
        clock.now += 2.0
        if limits.admit("a", allowed, "x").refused is None:
            seconds = lengths.uniform(0.2, 40.0)
            charge(limits, allowed, seconds, afterwards=True)
            spoken += seconds
    assert spoken == pytest.approx(50_000, rel=0.05)


def test_audio_is_free_where_it_is_not_limited(limits: Limits) -> None:
    assert charge(limits, KeyLimits(requests=3), 1e9, afterwards=False).refused is None


# ---- requests in progress -----------------------------------------------------------------------

TWO = KeyLimits(concurrent=2)


def test_so_many_requests_may_be_in_progress(limits: Limits) -> None:
    assert [limits.admit("a", TWO, lease).refused for lease in "xyz"] == [None, None, "concurrent"]
    assert limits.admit("b", TWO, "z").refused is None


def test_a_request_that_is_over_makes_room(limits: Limits) -> None:
    admitted(limits, TWO, 2)
    limits.release("a", "lease-0")
    left = limits.admit("a", TWO, "x")
    assert (left.refused, left.concurrent_left) == (None, 0)


def test_a_release_counts_once_and_only_its_own(limits: Limits) -> None:
    admitted(limits, TWO, 2)
    for lease in ("lease-0", "lease-0", "unknown"):
        limits.release("a", lease)
    limits.release("nobody", "lease-1")
    assert admitted(limits, TWO, 5) == 1


def test_a_request_that_is_refused_for_its_number_costs_nothing(limits: Limits) -> None:
    allowed = KeyLimits(requests=3, concurrent=1, window_s=1000.0)
    assert admitted(limits, allowed, 10) == 1
    limits.release("a", "lease-0")
    assert limits.admit("a", allowed, "x").requests_left == 1


def test_a_lease_that_is_not_renewed_is_lost(clock: Clock, limits: Limits) -> None:
    admitted(limits, TWO, 2)
    clock.now += 59
    assert admitted(limits, TWO, 1) == 0
    clock.now += 2
    assert admitted(limits, TWO, 5) == 2


def test_a_lease_that_is_renewed_is_kept(clock: Clock, limits: Limits) -> None:
    admitted(limits, TWO, 2)
    for _ in range(10):
        clock.now += 40
        limits.renew((("a", "lease-0"), ("a", "unknown"), ("nobody", "lease-1")))
    assert [limits.admit("a", TWO, lease).refused for lease in "xy"] == [None, "concurrent"]


def test_a_lease_that_was_lost_is_not_brought_back(clock: Clock, limits: Limits) -> None:
    admitted(limits, TWO, 2)
    clock.now += 61
    limits.admit("a", KeyLimits(concurrent=1), "new")
    limits.renew((("a", "lease-0"), ("a", "lease-1")))
    limits.release("a", "new")
    assert admitted(limits, TWO, 5) == 2


# ---- bounds -------------------------------------------------------------------------------------


def test_the_number_of_callers_is_bounded_and_the_busy_one_is_not_forgotten(
    limits: Limits,
) -> None:
    allowed = KeyLimits(requests=1, window_s=1e6)
    limits.admit("busy", allowed, "x")
    for number in range(30_000):
        limits.admit(f"caller-{number}", allowed, "x")
        if number % 5000 == 0:
            assert limits.admit("busy", allowed, "x").refused == "requests"
    assert len(limits._callers) == 10_000
    assert limits.admit("busy", allowed, "x").refused == "requests"
    assert limits.admit("caller-0", allowed, "x").refused is None


def test_the_leases_of_a_caller_are_bounded_by_its_limit(limits: Limits) -> None:
    admitted(limits, KeyLimits(concurrent=5), 1000)
    admitted(limits, KeyLimits(requests=10**9), 1000, "b")
    assert [len(caller.leases) for caller in limits._callers.values()] == [5, 0]
