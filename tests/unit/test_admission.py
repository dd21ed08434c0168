"""Who is let in: goodput past capacity, fairness between keys, live work before other work."""

import pytest

from configs.settings import AdmissionSettings
from serve_app.admission import ROUTES, Errand, errand_of
from serve_app.api import _FAMILIES
from tests.unit.overloaded_graph import Flow, Stage, play

HEAR = Errand(("stt",), "bulk")
TURN = Errand(("stt", "llm", "tts"), "live")
TURN_WORK = {"stt": (1, 0.1), "llm": (1, 0.5), "tts": (2, 0.2)}
GRAPH = {"stt": Stage(), "llm": Stage(2), "tts": Stage()}
TURNS_PER_S = 2.5  # what the voice of that graph can do
BIG_GRAPH = {"stt": Stage(2), "llm": Stage(4), "tts": Stage(2)}
LIMITS = AdmissionSettings()


def turns(times: float, caller: str = "somebody") -> Flow:
    return Flow(TURN, TURN_WORK, times * TURNS_PER_S, caller)


def recordings(per_s: float, seconds: float = 0.2, caller: str = "somebody") -> Flow:
    return Flow(HEAR, {"stt": (1, seconds)}, per_s, caller)


# ---- past capacity --------------------------------------------------------------------------------


def test_below_capacity_nobody_is_refused() -> None:
    flow = turns(0.7)
    assert not play(GRAPH, flow)
    assert flow.took(0.95) < 4


@pytest.mark.parametrize("times", [3, 10])
def test_goodput_of_turns_stays_flat(times: float) -> None:
    peak, flow = turns(1), turns(times)
    play(GRAPH, peak)
    play(GRAPH, flow)
    assert flow.served >= 0.95 * peak.served
    # What the first ones take is not known yet; from then on nobody waits much longer than he may.
    assert flow.took(0.8) < 1.0 + 2 * LIMITS.live_wait_s


@pytest.mark.parametrize("times", [3, 10])
def test_goodput_of_bulk_work_alone_stays_flat(times: float) -> None:
    peak, flow = recordings(10), recordings(10 * times)
    play({"stt": Stage(2)}, peak)
    play({"stt": Stage(2)}, flow)
    assert flow.served >= 0.95 * peak.served
    assert max(flow.took_s) < LIMITS.bulk_wait_s + 1


def test_several_ingress_replicas_share_a_stage() -> None:
    peak, flow = turns(1), turns(3)
    play(GRAPH, peak)
    play(GRAPH, flow, ingresses=3)
    assert flow.served >= 0.95 * peak.served
    assert flow.took(0.9) < 1.0 + 4 * LIMITS.live_wait_s


def test_every_refusal_says_when_to_come_again() -> None:
    flow = recordings(30)
    play({"stt": Stage(2)}, flow)
    assert len(flow.again_s) == flow.results["refused"] > 500
    assert all(seconds > 0 for seconds in flow.again_s[len(flow.again_s) // 2 :])


def test_a_replica_holds_only_so_many_requests() -> None:
    flow = recordings(100, seconds=0.5)
    reasons = play(
        {"stt": Stage(64)}, flow, settings=LIMITS.model_copy(update={"max_requests": 20})
    )
    assert reasons.keys() == {"full"}
    assert flow.served == pytest.approx(60 * 10 / 0.5, rel=0.1)  # half of 20 are for live ones


def test_it_can_be_turned_off() -> None:
    flow = recordings(20)
    off = LIMITS.model_copy(update={"enabled": False, "bulk_wait_s": 0.1})
    assert not play({"stt": Stage(2)}, flow, seconds=5, settings=off)


# ---- fair between keys ----------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.2, 2.0])
def test_a_quiet_key_keeps_its_goodput_beside_a_noisy_one(seconds: float) -> None:
    capacity = 2 / seconds
    noisy = recordings(2.7 * capacity, seconds, "noisy")
    quiet = recordings(0.3 * capacity, seconds, "quiet")
    reasons = play({"stt": Stage(2)}, noisy, quiet, seconds=300 * seconds)
    assert quiet.served >= 0.95 * sum(quiet.results.values())
    assert noisy.served >= 0.65 * 300 * seconds * capacity
    assert reasons["share"] >= 0.95 * noisy.results["refused"]


def test_equal_keys_get_the_same() -> None:
    flows = [recordings(10, caller=name) for name in ("a", "b", "c")]
    play({"stt": Stage(2)}, *flows)
    served = [flow.served for flow in flows]
    assert max(served) < 1.1 * min(served)
    assert sum(served) >= 0.95 * 10 * 60


def test_a_key_alone_may_use_everything() -> None:
    flow = recordings(30)
    assert "share" not in play({"stt": Stage(2)}, flow)


# ---- live work first ------------------------------------------------------------------------------


@pytest.mark.parametrize(("graph", "times"), [(BIG_GRAPH, 0.8), (GRAPH, 0.4)])
def test_live_turns_keep_their_goodput_beside_bulk_work(
    graph: dict[str, Stage], times: float
) -> None:
    alone, beside = turns(times), turns(times)
    play(graph, alone)
    bulk = recordings(3 * graph["stt"].places / 0.5, 0.5)
    play(graph, beside, bulk)
    assert not beside.results["refused"]
    # One that has begun is not stopped: a turn finds at most one of it before itself.
    assert beside.took(0.95) < alone.took(0.95) + 0.6
    assert bulk.served > 0.4 * 60 * graph["stt"].places / 0.5


def test_bulk_work_uses_what_live_work_leaves() -> None:
    bulk, rare = recordings(30), Flow(Errand(("stt",), "live"), {"stt": (1, 0.1)}, 0.5)
    play({"stt": Stage(4)}, bulk, rare)
    assert rare.took(0.95) < 0.15
    # One of four places is left; two for a while, where two came at once.
    assert bulk.served >= 0.85 * 60 * 3 / 0.2


# ---- the table ------------------------------------------------------------------------------------

FREE = {
    "/v1/sessions/{session_id}",
    "/v1/encode-reference",
    "/v1/voices",
    "/v1/audio/models",
    "/v1/audio/voices",
    "/v1/audio/voices/{voice_id}",
    "/v1/audio/voice_consents",
    "/v1/audio/voice_consents/{consent_id}",
    "/v1/realtime/client_secrets",
    "/v1/realtime/sessions",
    "/v1/realtime/transcription_sessions",
    "/v1/models",
    "/v1/models/{model_id:path}",
    "/v1/livekit/status",
    "/v1/livekit/token",
    "/v1/livekit/agent-token",
    "/health/live",
    "/health/ready",
    "/health",
    "/health/{stage}",
    "/metrics",
}


def test_every_route_is_in_the_table_or_free_on_purpose() -> None:
    paths = {getattr(route, "path", "") for each in _FAMILIES for route in each.router.routes}
    gated = {path for routes in ROUTES.values() for path in routes}
    assert gated.isdisjoint(FREE)
    assert {path for path in paths if path not in gated} <= FREE
    assert gated <= paths


@pytest.mark.parametrize(
    ("kind", "method", "path", "errand"),
    [
        ("http", "POST", "/v1/dialogue", TURN),
        ("http", "POST", "/v1/audio/transcriptions", HEAR),
        ("http", "POST", "/v1/text-to-speech/joe/stream", Errand(("tts",), "bulk")),
        ("websocket", "", "/v1/text-to-speech/joe/stream-input", Errand(("tts",), "live")),
        ("websocket", "", "/v1/realtime", TURN),
        ("websocket", "", "/v1/dialogue", None),
        ("http", "GET", "/v1/dialogue", None),
        ("http", "POST", "/v1/dialogue/more", None),
        ("http", "POST", "/v1/audio/voices", None),
        ("http", "GET", "/health/live", None),
    ],
)
def test_a_route_asks_for_stages(kind: str, method: str, path: str, errand: Errand | None) -> None:
    assert errand_of(kind, method, path) == errand
