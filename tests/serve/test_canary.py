"""What callers say and send is in their answers, and nowhere else."""

import base64
import re
from pathlib import Path

import pytest

from tests.serve.calls import noise_wav, upload
from tests.serve.cluster import Cluster, eventually
from tests.serve.collector import Collector

CANARY = "zanzibar-canary-4711"


def log_folder(cluster: Cluster) -> Path:
    """Where this cluster's processes write, as Ray's own command lines tell."""
    for process in cluster.processes():
        if found := re.search(r"--session[_-]dir=(\S+)", " ".join(process.cmdline())):
            return Path(found.group(1)) / "logs"
    raise AssertionError("no process of Ray names its session")


@pytest.fixture(scope="module")
def answers(cluster: Cluster) -> list[tuple[str, int]]:
    """Every kind of request that carries text or a secret, some of them wrong."""
    post = cluster.client.post
    secret = {"X-API-Key": CANARY, "Authorization": f"Bearer {CANARY}"}
    json_bodies = {
        "/v1/generate": {"prompt": CANARY, "system_prompt": CANARY, "stop": [CANARY]},
        "/v1/generate_stream": {"prompt": CANARY},
        "/v1/text-to-speech": {"text": CANARY},
        "/v1/audio/speech": {"model": "tts-1", "voice": "alloy", "input": CANARY},
        "/v1/completions": {"model": "gpt-4", "prompt": CANARY},
        "/v1/chat/completions": {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": CANARY}],
        },
    }
    given: list[tuple[str, int]] = []
    for path, body in json_bodies.items():
        given.append((path, post(path, json=body, headers=secret).status_code))
        wrong = post(path, json=body | {"temperature": CANARY}, headers=secret)
        assert wrong.status_code == 400
    for path in ("/v1/speech-to-text", "/v1/dialogue", "/v1/audio/transcriptions"):
        files = {"file": (f"{CANARY}.wav", noise_wav(), "audio/wav")}
        form = {"model": "whisper-1"} if "audio" in path else {}
        given.append((path, post(path, files=files, data=form, headers=secret).status_code))
        wrong = post(path, files=upload(CANARY.encode()), data=form)
        assert 400 <= wrong.status_code < 500
        assert CANARY not in wrong.text
    cluster.client.get(f"/v1/models/{CANARY}")
    cluster.client.get("/health/live", params={"api_key": CANARY})
    return given


def test_all_of_them_were_answered(answers: list[tuple[str, int]]) -> None:
    assert [each for each in answers if each[1] != 200] == []


@pytest.mark.usefixtures("answers")
def test_no_log_holds_what_was_said(cluster: Cluster) -> None:
    files = [path for path in log_folder(cluster).rglob("*") if path.is_file()]
    assert any("replica_speech_dialogue" in path.name for path in files)
    secrets = (CANARY.encode(), base64.b64encode(CANARY.encode()))
    found = {path.name for path in files if any(each in path.read_bytes() for each in secrets)}
    # The access log has paths, and this one was in a path.
    assert not {name for name in found if not _only_in_paths(log_folder(cluster), name)}


def _only_in_paths(folder: Path, name: str) -> bool:
    lines = [
        line
        for path in folder.rglob(name)
        for line in path.read_text(errors="replace").splitlines()
        if CANARY in line
    ]
    return all(f"GET /v1/models/{CANARY}" in line for line in lines)


@pytest.mark.usefixtures("answers")
def test_no_line_of_json_and_no_span_holds_what_was_said(
    cluster: Cluster, collector: Collector
) -> None:
    """Neither in a path or a header: the routes' templates are told."""
    route = "/v1/models/{model_id:path}"
    eventually(lambda: cluster.log_lines(route=route), 30, "the line of the last request")
    eventually(
        lambda: any(span.attributes.get("http.route") == route for span in collector.spans),
        30,
        "the span of the last request",
    )
    for secret in (CANARY.encode(), base64.b64encode(CANARY.encode())):
        assert secret not in cluster.log.read_bytes()
        assert not any(secret in body for body in collector.bodies)


@pytest.mark.usefixtures("answers")
def test_no_metric_holds_what_was_said(cluster: Cluster) -> None:
    assert CANARY not in cluster.client.get("/metrics", timeout=15).text
