"""Files of keys, how they change, and how a key is looked up."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from benchmarks import key_timing
from configs.settings import AccessSettings, AppSettings, RateSettings
from deployments.errors import InvalidSetting
from deployments.messages import KeyLimits
from serve_app import key_ring
from serve_app.key_file import ApiKey, known_keys
from serve_app.key_ring import KeyRing
from serve_app.preflight import check_machine
from tests.unit.fake_services import quick_settings

RATE = RateSettings(enabled=True, requests=120, concurrent=8, window_seconds=30)
SECRET = "sk-canary-4711"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def written(folder: Path, text: str, name: str = "keys") -> AccessSettings:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return AccessSettings(enabled=True, keys_file=str(path), rate=RATE)


def read(folder: Path, text: str, name: str = "keys") -> dict[str, ApiKey]:
    return {key.name: key for key in known_keys(written(folder, text, name))}


# ---- the file -----------------------------------------------------------------------------------


def test_a_file_of_lines_has_one_key_in_each(tmp_path: Path) -> None:
    keys = read(tmp_path, "# of the kitchen\nfirst-key\n\n  second#key  \r\n   # the end\n")
    assert list(keys) == [sha256("first-key")[:8], sha256("second#key")[:8]]
    assert all(
        key.digest.hex() == sha256(text)
        for key, text in zip(keys.values(), ("first-key", "second#key"), strict=True)
    )


NAMED = f"""
keys:
  - {{name: kitchen, key: sk-kitchen, expires: 2030-12-31}}
  - sha256: {sha256("sk-hall").upper()}
"""


@pytest.mark.parametrize("name", ["keys", "keys.yaml", "keys.yml"])
def test_a_yaml_file_names_keys_or_their_hashes(tmp_path: Path, name: str) -> None:
    keys = read(tmp_path, NAMED, name)
    assert list(keys) == ["kitchen", sha256("sk-hall")[:8]]
    assert keys["kitchen"].digest.hex() == sha256("sk-kitchen")
    assert keys["kitchen"].last_day == date(2030, 12, 31)
    assert keys[sha256("sk-hall")[:8]].digest.hex() == sha256("sk-hall")


def test_json_is_yaml(tmp_path: Path) -> None:
    text = json.dumps({"keys": [{"name": "a", "key": "sk-a", "expires": "2030-01-02"}]})
    assert read(tmp_path, text, "keys.json")["a"].last_day == date(2030, 1, 2)


def test_a_keys_own_limits_override_the_default_one_by_one(tmp_path: Path) -> None:
    own = "{requests: 5, audio_seconds: 60.5, concurrent: null, burst_multiplier: 2}"
    keys = read(tmp_path, f"keys: [{{name: own, key: a, limits: {own}}}, {{name: none, key: b}}]")
    assert keys["own"].limits == KeyLimits(5, 60.5, None, window_s=30, burst=2)
    assert keys["none"].limits == KeyLimits(120, None, 8, window_s=30, burst=1)


def test_a_keys_own_limits_hold_where_there_are_no_others(tmp_path: Path) -> None:
    access = written(tmp_path, "keys: [{name: own, key: a, limits: {requests: 5}}]")
    (key,) = known_keys(access.model_copy(update={"rate": RateSettings()}))
    assert key.limits == KeyLimits(requests=5)


def test_keys_of_the_settings_and_of_the_file_are_known(tmp_path: Path) -> None:
    access = written(tmp_path, "in-file")
    both = access.model_copy(update={"keys_sha256": (sha256("in-settings"),) * 2})
    assert {key.digest.hex() for key in known_keys(both)} == {
        sha256("in-settings"),
        sha256("in-file"),
    }


WRONG = {
    "nothing": ("", "at least 1 item"),
    "only comments": ("# none\n", "at least 1 item"),
    "two words in a line": (f"{SECRET} and more", "keys.0"),
    "no list": (f"keys: {{{SECRET}: 1}}", "keys"),
    "no mapping": (f"keys: [{SECRET}]", "keys.0"),
    "a number": ("keys: [{key: 4711}]", "keys.0.key"),
    "both": (f"keys: [{{key: {SECRET}, sha256: {'a' * 64}}}]", "either 'key' or 'sha256'"),
    "neither": ("keys: [{name: a}]", "either 'key' or 'sha256'"),
    "a short hash": (f"keys: [{{sha256: {SECRET}}}]", "keys.0.sha256"),
    "a bad name": (f"keys: [{{name: 'a b', key: {SECRET}}}]", "keys.0.name"),
    "a long name": (f"keys: [{{name: {'a' * 65}, key: {SECRET}}}]", "keys.0.name"),
    "a typo": (f"keys: [{{key: {SECRET}, limit: 1}}]", "a field that no key has"),
    "a key for a field": (f"keys: [{{{SECRET}: 1}}]", "a field that no key has"),
    "a bad limit": (f"keys: [{{key: {SECRET}, limits: {{requests: 0}}}}]", "limits.requests"),
    "a typo in a limit": (f"keys: [{{key: {SECRET}, limits: {{rps: 1}}}}]", "keys.0.limits"),
    "a bad date": (f"keys: [{{key: {SECRET}, expires: soon}}]", "keys.0.expires"),
    "no YAML": (f"keys:\n  - key: '{SECRET}\n", "not YAML"),
    "a tag": (f"keys: !!python/name:os.system {SECRET}", "line 1 is not YAML"),
    "a key twice": (f"{SECRET}\n{SECRET}\n", "is there twice"),
    "a name twice": (f"keys: [{{name: a, key: {SECRET}}}, {{name: a, key: b}}]", "'a' is there"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_tells_where_and_shows_no_key(tmp_path: Path, name: str) -> None:
    text, reason = WRONG[name]
    with pytest.raises(InvalidSetting) as refused:
        read(tmp_path, text)
    assert refused.value.key == "API_KEYS_FILE (access.keys_file)"
    assert reason in refused.value.message
    assert SECRET not in refused.value.message
    assert "4711" not in refused.value.message
    assert SECRET not in "".join(traceback.format_exception(refused.value))


def test_a_file_that_is_not_text_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for data, reason in ((b"\xff\xfe", "not UTF-8"), (b"a" * 5 * 1024 * 1024, "more than")):
        path.write_bytes(data)
        with pytest.raises(InvalidSetting, match=reason):
            known_keys(AccessSettings(keys_file=str(path)))


@pytest.mark.parametrize("path", ["/nowhere/keys", "/"])
def test_a_missing_file_fails_the_check_of_the_machine(path: str) -> None:
    settings = quick_settings(access=AccessSettings(enabled=True, keys_file=path))
    with pytest.raises(InvalidSetting, match=r"access\.keys_file"):
        check_machine(settings)


def test_no_key_is_kept_in_memory(tmp_path: Path) -> None:
    access = written(tmp_path, f"keys: [{{name: a, key: {SECRET}}}]")
    ring = KeyRing(access)
    settings = AppSettings(access=access)
    assert SECRET not in repr((ring._keys, vars(ring), settings))
    assert {type(key.digest) for key in ring._keys} == {bytes}


# ---- looking a key up ---------------------------------------------------------------------------

KEYS = [f"key-{number}" for number in range(20)]


def ring_of(*keys: str, **changes: Any) -> KeyRing:
    return KeyRing(AccessSettings(keys_sha256=tuple(map(sha256, keys))), **changes)


@pytest.mark.parametrize("key", KEYS)
def test_a_known_key_is_found_by_its_name(key: str) -> None:
    found = ring_of(*KEYS).find(key.encode())
    assert found is not None
    assert found.name == sha256(key)[:8]


@pytest.mark.parametrize(
    "key", [KEYS[3], "key-", "key-2", "nothing like it", "", "k" * 10_000, "key-33", "schlüssel"]
)
def test_every_hash_is_compared_for_every_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of(*KEYS)
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return really(one, other)

    monkeypatch.setattr(key_ring.hmac, "compare_digest", compare)
    ring.find(key.encode())
    assert compared == [(32, 32)] * len(KEYS)


def test_the_time_of_a_check_does_not_tell_how_near_a_wrong_key_was() -> None:
    # A leak shows every time; what else this machine does, only now and then.
    signs = []
    for _ in range(3):
        times = key_timing.timed(checks=10_000, keys=20)
        signs.append(abs(key_timing.welch(times["near"], times["far"])))
        if signs[-1] < key_timing.LIMIT:
            return
    raise AssertionError(signs)


def test_a_key_works_until_the_end_of_its_last_day(tmp_path: Path) -> None:
    access = written(tmp_path, "keys: [{name: a, key: k, expires: 2030-01-02}]")
    for today, there in ((date(2030, 1, 2), True), (date(2030, 1, 3), False)):
        found = KeyRing(access, today=lambda day=today: day).find(b"k")
        assert (found is not None) == there


# ---- a file that changes ------------------------------------------------------------------------


class Rotated:
    """A ring over a file, on a clock of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.path, self.now, self.changes = folder / "keys", 100.0, 0
        self.path.write_text("old-key\n")
        self.ring = KeyRing(
            AccessSettings(enabled=True, keys_file=str(self.path)), clock=lambda: self.now
        )

    def write(self, text: str) -> None:
        """Replace the file as an operator does, in one step."""
        self.changes += 1
        new = self.path.with_suffix(".new")
        new.write_text(text)
        stamp = 1_000_000_000 + self.changes
        os.utime(new, (stamp, stamp))
        new.replace(self.path)

    async def knows(self, *keys: str, after_s: float = 1.0) -> list[bool]:
        self.now += after_s
        await self.ring.refresh()
        return [self.ring.find(key.encode()) is not None for key in keys]


@pytest.fixture
def rotated(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))
    log = logging.getLogger("ray.serve")
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)


async def test_a_new_file_brings_new_keys_and_takes_old_ones(rotated: Rotated) -> None:
    assert await rotated.knows("old-key", "new-key") == [True, False]
    rotated.write("new-key\n")
    assert await rotated.knows("old-key", "new-key") == [False, True]


async def test_the_file_is_looked_at_once_a_second(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    stat = Path.stat

    def counted(self: Path, **options: Any) -> os.stat_result:
        looks.append(self)
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", counted)
    for _ in range(100):
        await rotated.knows(after_s=0.05)
    assert len(looks) in (4, 5)


async def test_a_file_that_did_not_change_is_not_read_again(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.key_ring.known_keys", lambda access: pytest.fail("read again"))
    assert await rotated.knows("old-key", after_s=5.0) == [True]


@pytest.mark.parametrize("text", ["", "keys: [{name: a b, key: sk-canary-4711}]", "keys: '"])
async def test_a_broken_file_keeps_the_old_keys_and_is_logged_once_without_them(
    rotated: Rotated, logged: list[str], text: str
) -> None:
    rotated.write(text)
    for _ in range(3):
        assert await rotated.knows("old-key", SECRET) == [True, False]
    (line,) = logged
    assert "API_KEYS_FILE" in line
    assert SECRET not in line
    assert "old-key" not in line
    rotated.write("new-key\n")
    assert await rotated.knows("old-key", "new-key") == [False, True]


async def test_a_file_that_is_gone_keeps_the_old_keys_until_it_is_back(
    rotated: Rotated, logged: list[str]
) -> None:
    rotated.path.unlink()
    assert await rotated.knows("old-key") == [True]
    assert await rotated.knows("old-key") == [True]
    assert len(logged) == 1
    rotated.write("new-key\n")
    assert await rotated.knows("old-key", "new-key") == [False, True]


async def test_the_file_is_not_read_on_the_event_loop(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []

    def read_slowly(access: AccessSettings) -> tuple[ApiKey, ...]:
        readers.append(threading.get_ident())
        return known_keys(access)

    monkeypatch.setattr("serve_app.key_ring.known_keys", read_slowly)
    rotated.write("new-key\n")
    assert await rotated.knows("new-key") == [True]
    assert readers
    assert threading.get_ident() not in readers


async def test_requests_at_the_same_time_do_not_wait_for_one_that_reads(
    rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = threading.Event()

    def read_slowly(access: AccessSettings) -> tuple[ApiKey, ...]:
        assert may_read.wait(10)
        return known_keys(access)

    monkeypatch.setattr("serve_app.key_ring.known_keys", read_slowly)
    rotated.write("new-key\n")
    rotated.now += 1.0
    async with asyncio.TaskGroup() as group:
        group.create_task(rotated.ring.refresh())
        await asyncio.sleep(0)
        assert await rotated.knows("old-key", after_s=0.0) == [True]
        may_read.set()
    assert await rotated.knows("new-key", after_s=0.0) == [True]
