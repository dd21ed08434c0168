"""Keys and limits over two replicas of the ingress, and where secrets are not."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.serve.calls import error_of, json_request, read_head
from tests.serve.cluster import Cluster, derived_config, eventually, launched, new_client
from tests.serve.conftest import LONG_REPLY

pytestmark = pytest.mark.serve

ENV_KEY, LIVEKIT_SECRET = "canary-of-the-environment", "canary-that-signs-tokens-0123456789"
FILE_KEY, WRONG_KEY = "canary-of-the-file", "canary-that-is-wrong"
SECRETS = [ENV_KEY, LIVEKIT_SECRET, FILE_KEY, WRONG_KEY]
HOUR = {"window_seconds": 3600}
KEYS: list[dict[str, Any]] = [
    {"name": "kitchen", "key": FILE_KEY},
    {"name": "twenty", "key": "twenty-an-hour", "limits": {"requests": 20, **HOUR}},
    {"name": "one", "key": "one-at-once", "limits": {"concurrent": 1}},
]


@dataclass
class Locked:
    """A graph that asks for keys, and the file where they stand."""

    cluster: Cluster
    file: Path

    def write(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def get(self, key: str, header: str = "X-API-Key") -> Any:
        return self.cluster.client.get("/v1/models", headers={header: key})


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("access")
    file = folder / "keys.yaml"
    slow = {"reply": LONG_REPLY, "tokens_per_s": 5.0}
    access = {"enabled": True, "keys_file": str(file)}
    path = derived_config(folder / "config.yaml", {"speech": {"llm": slow, "access": access}})
    tree = yaml.safe_load(path.read_text())
    tree["applications"][0]["deployments"][0]["num_replicas"] = 2
    path.write_text(yaml.safe_dump(tree))
    file.write_text(yaml.safe_dump({"keys": KEYS}))
    secrets = {"API_KEYS": ENV_KEY, "LIVEKIT_API_SECRET": LIVEKIT_SECRET}
    with launched(path, folder / "launcher.log", **secrets) as cluster:
        cluster.wait_ready()
        yield Locked(cluster, file)


def by_many(locked: Locked, key: str, times: int) -> Counter[int]:
    """The statuses of so many requests over eight connections at the same time."""
    statuses: Counter[int] = Counter()

    def ask() -> None:
        with new_client(locked.cluster.base_url) as client:
            for _ in range(times // 8):
                answer = client.get("/v1/models", headers={"X-API-Key": key})
                statuses[answer.status_code] += 1

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return statuses


def test_keys_of_the_environment_and_of_the_file_open_the_service(locked: Locked) -> None:
    assert locked.get(ENV_KEY).status_code == 200
    assert locked.get(f"Bearer {FILE_KEY}", "Authorization").status_code == 200
    assert error_of(locked.cluster.client.get("/v1/models"))["code"] == "missing_api_key"
    wrong = locked.get(WRONG_KEY)
    assert (wrong.status_code, error_of(wrong)["code"]) == (403, "invalid_api_key")
    bearer = locked.get(f"Bearer {WRONG_KEY}", "Authorization")
    assert (bearer.status_code, bearer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_limit_holds_over_both_replicas(locked: Locked) -> None:
    assert by_many(locked, "twenty-an-hour", 80) == {200: 20, 429: 60}
    refused = locked.get("twenty-an-hour")
    assert error_of(refused)["code"] == "rate_limit_exceeded"
    assert 0 < int(refused.headers["retry-after"]) <= 180
    assert refused.headers["x-ratelimit-limit-requests"] == "20"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert locked.get(FILE_KEY).status_code == 200

    metrics = locked.cluster.metrics
    eventually(
        lambda: len(metrics().by_replica("app_http_requests_total", status="429")) == 2,
        60,
        "both replicas refused some",
    )
    # The page joins what each process told last, at most ten seconds ago.
    name = "app_rate_limit_rejections_total"
    eventually(lambda: metrics().total(name, scope="requests") == 61, 30, "each refusal is counted")


def test_a_stream_of_one_replica_counts_in_both(locked: Locked) -> None:
    key = {"X-API-Key": "one-at-once"}
    stream = json_request(locked.cluster, "/v1/generate_stream", {"prompt": "Talk."}, key)
    status, headers = read_head(stream)
    assert (status, dict(headers)["x-ratelimit-remaining-concurrent"]) == (200, "0")
    assert by_many(locked, "one-at-once", 40) == {429: 40}
    stream.close()
    eventually(
        lambda: locked.get("one-at-once").status_code == 200, 10, "a client that left makes room"
    )
    assert [locked.get("one-at-once").status_code for _ in range(20)] == [200] * 20


def all_answer(locked: Locked, key: str, status: int) -> Callable[[], bool]:
    return lambda: {locked.get(key).status_code for _ in range(12)} == {status}


def test_keys_rotate_without_a_restart(locked: Locked) -> None:
    replicas = set(locked.cluster.replica_pids("speech", "dialogue"))
    locked.write(yaml.safe_dump({"keys": [{"name": "kitchen", "key": "new-key"}]}))
    eventually(all_answer(locked, "new-key", 200), 10, "the new key opens both replicas")
    eventually(all_answer(locked, FILE_KEY, 403), 10, "the old key opens none")
    locked.write(f"keys: [{{key: {FILE_KEY}, key: [")
    eventually(all_answer(locked, "new-key", 200), 10, "a broken file changes nothing")
    locked.write(yaml.safe_dump({"keys": KEYS}))
    eventually(all_answer(locked, FILE_KEY, 200), 10, "the first key is back")
    assert set(locked.cluster.replica_pids("speech", "dialogue")) == replicas


# ---- where secrets are not ----------------------------------------------------------------------


def environments(cluster: Cluster) -> dict[str, bytes]:
    """Of every process but the launcher itself."""
    found: dict[str, bytes] = {}
    for process in cluster.processes():
        with suppress(psutil.Error, OSError):
            if process.pid != cluster.process.pid:
                name = " ".join(process.cmdline()[:1])
                found[f"{process.pid} {name}"] = Path(f"/proc/{process.pid}/environ").read_bytes()
    return found


def holding(contents: dict[str, bytes]) -> list[str]:
    return [
        name
        for name, content in contents.items()
        if any(secret.encode() in content for secret in SECRETS)
    ]


def test_no_process_of_ray_has_a_secret_in_its_environment(locked: Locked) -> None:
    found = environments(locked.cluster)
    assert sum("ServeReplica:speech:dialogue" in name for name in found) == 2
    assert holding(found) == []


def test_no_log_metric_or_answer_holds_a_secret(locked: Locked) -> None:
    client = locked.cluster.client
    for name in ("X-API-Key", "Authorization"):
        for value in (WRONG_KEY, f"Bearer {WRONG_KEY}", FILE_KEY, f"Bearer {ENV_KEY}"):
            client.post("/v1/generate", content=b"{", headers={name: value})
    paths = ("/health", "/health/ready", "/metrics", "/openapi.json", "/v1/models")
    answers = {path: client.get(path).content for path in paths}
    answers["refused"] = locked.get(WRONG_KEY).content
    answers["launcher"] = locked.cluster.output().encode()
    assert holding(answers) == []
    lines = {str(pid): " ".join(pid.cmdline()).encode() for pid in locked.cluster.processes()}
    assert holding(lines) == []
    logs = {str(path): path.read_bytes() for path in log_files(locked.cluster)}
    assert any("replica_speech_dialogue" in name for name in logs)
    assert holding(logs) == []


def log_files(cluster: Cluster) -> list[Path]:
    for process in cluster.processes():
        if found := re.search(r"--session[_-]dir=(\S+)", " ".join(process.cmdline())):
            return [path for path in (Path(found[1]) / "logs").rglob("*") if path.is_file()]
    raise AssertionError("no process of Ray names its session")


# ---- the last one, for it takes the state away --------------------------------------------------


def test_requests_are_answered_while_the_state_restarts(locked: Locked) -> None:
    locked.cluster.kill_replica("speech", "state")
    statuses = by_many(locked, "twenty-an-hour", 80)
    assert set(statuses) == {200, 429}
    # Each replica counts for itself until the state is back, which begins anew.
    assert 20 <= statuses[200] <= 60

    logs = [path for path in log_files(locked.cluster) if "speech_dialogue" in path.name]
    told = "limits are counted by this replica alone"
    assert told in "".join(path.read_text(errors="replace") for path in logs)
