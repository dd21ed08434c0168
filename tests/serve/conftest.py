"""One cluster for all tests that need one; its applications differ in how slow their engines are."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.fuzz import LIVEKIT
from tests.serve.cluster import Cluster, derived_config, launched
from tests.serve.collector import Collector, collecting

LONG_REPLY = " ".join(f"Sentence number {n} is written by the slow model." for n in range(1, 40))

NOWHERE = "http://127.0.0.1:9"

APPLICATIONS = {
    # Served at `/`: everything takes a moment. Its replicas are never killed, so it can be counted.
    # It has the keys of a LiveKit server: without them, two routes answer 503.
    "speech": {"livekit": LIVEKIT},
    # A reply of 35 s, spoken half as slowly as it sounds.
    "slow": {
        "llm": {"reply": LONG_REPLY, "tokens_per_s": 10.0, "first_token_s": 0.05},
        "tts": {"real_time_factor": 0.5},
        "spoken_sampling": {"max_tokens": 400},
        "limits": {"max_json_bytes": 4096},
    },
    # Every stage takes 30 s before it has anything to show.
    "stalled": {
        "stt": {"latency_s": 30.0},
        "llm": {"first_token_s": 30.0},
        "tts": {"first_audio_s": 30.0},
    },
    # Two models, each for two replies at the same time.
    "paired": {
        "llm": {"reply": LONG_REPLY, "tokens_per_s": 50.0, "first_token_s": 0.05, "parallel": 2}
    },
    # The first engine that hears, and that speaks, is on a machine that is not there.
    "chained": {
        "stt": {
            "engine": "fallback",
            "order": [{"engine": "openai_api", "base_url": NOWHERE}, {"engine": "fake"}],
        },
        "tts": {
            "engine": "fallback",
            "order": [{"engine": "openaudio_api", "base_url": NOWHERE}, {"engine": "fake"}],
            "stand_ins": {"*": "high"},
        },
    },
}
# All of them fit on two CPUs, as Ray counts them.
_STAGES = ("stt", "llm", "tts", "state")
_LIGHT = {"ray_actor_options": {"num_cpus": 0.05}}
DEPLOYMENTS: dict[str, dict[str, Any]] = {
    "paired/stt": _LIGHT,
    "paired/llm": {"num_replicas": 2, "max_ongoing_requests": 2} | _LIGHT,
    "paired/tts": _LIGHT,
    "paired/state": _LIGHT,
    **{f"{name}/{stage}": _LIGHT for name in ("slow", "stalled", "chained") for stage in _STAGES},
}


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the cluster's traces go."""
    with collecting() as taking:
        yield taking


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Cluster]:
    """The launcher over five applications: `/`, `/slow`, `/stalled`, `/paired` and `/chained`.

    It writes JSON logs and sends traces, so that every test is one of those, too.
    """
    folder = tmp_path_factory.mktemp("serve")
    observed = {"LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    config = derived_config(folder / "config.yaml", APPLICATIONS, DEPLOYMENTS)
    with launched(config, folder / "launcher.log", **observed) as started:
        for prefix in ("", "/slow", "/stalled", "/paired", "/chained"):
            started.wait_ready(prefix)
        yield started
        status = started.stop()
        assert status == 0, started.output()
        assert "Shutting down." in started.output()
