"""The library of cloned voices on disk."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.settings import SessionSettings, VoiceLibrarySettings
from deployments.audio import Pcm
from deployments.errors import (
    ConsentInUse,
    ConsentNotFound,
    StageFailed,
    VoiceLibraryFull,
    VoiceNotFound,
)
from deployments.messages import NewVoice, VoiceReference
from deployments.state.records import RecordFolder, is_id
from deployments.state.server import StateServer
from deployments.state.voices import VoiceLibrary

SAMPLE = Pcm(b"\1\2" * 4800, 48_000)
REFERENCE = VoiceReference("Selamat pagi.", b"\0\xffcodes", "fake")


def library(folder: Path, **settings: Any) -> VoiceLibrary:
    ticks = iter(range(1_000, 100_000))
    return VoiceLibrary(
        VoiceLibrarySettings(folder=str(folder / "voices"), **settings), lambda: float(next(ticks))
    )


def voice(name: str = "Ada", consent: str | None = None) -> NewVoice:
    return NewVoice(name, "id-ID", REFERENCE, consent)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "voices").iterdir())


def test_voices_and_consents_survive_a_restart(tmp_path: Path) -> None:
    before = library(tmp_path)
    consent = before.add_consent("ann", "Ada", "id-ID", SAMPLE)
    kept = before.add_voice("ann", voice(consent=consent.id), SAMPLE)
    renamed = before.rename_consent("ann", consent.id, "Ada L.")
    after = library(tmp_path)
    assert after.list_voices("ann") == (kept,)
    assert after.list_consents("ann") == (renamed,)
    assert after.find_voice("ann", kept.id) == after.find_voice("ann", "Ada") == kept
    assert after.read_sample("ann", kept.id) == SAMPLE
    assert kept.reference == REFERENCE
    assert kept.id != after.add_voice("ann", voice(), SAMPLE).id


def test_what_another_process_writes_is_seen(tmp_path: Path) -> None:
    old, new = library(tmp_path), library(tmp_path)
    assert new.list_voices("ann") == ()
    kept = old.add_voice("ann", voice(), SAMPLE)
    assert new.list_voices("ann") == (kept,)
    second = new.add_voice("ann", voice("Bo"), SAMPLE)
    assert second in old.list_voices("ann")
    old.delete_voice("ann", kept.id)
    assert new.find_voice("ann", kept.id) is None
    assert new.list_voices("ann") == old.list_voices("ann") == (second,)
    third = new.add_voice("ann", voice("Cy"), SAMPLE)
    old.delete_voice("ann", third.id)
    assert new.list_voices("ann") == (second,)


def test_a_change_reads_no_other_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parse = json.loads

    def reading(data: bytes) -> Any:
        fields = parse(data)
        read.append(fields["name"])
        return fields

    old, new = library(tmp_path), library(tmp_path)
    one, two = (old.add_voice("ann", voice(name), SAMPLE) for name in ("Ada", "Bo"))
    consent = old.add_consent("ann", "Cy", "en", SAMPLE)
    assert old.list_voices("ann") == new.list_voices("ann") == (one, two)
    monkeypatch.setattr(json, "loads", reading)
    renamed = old.rename_consent("ann", consent.id, "Di")
    third = old.add_voice("ann", voice("Ed"), SAMPLE)
    old.delete_voice("ann", one.id)
    for each in (old, new):
        read.clear()
        assert each.list_voices("ann") == (two, third)
        assert each.list_consents("ann") == (renamed,)
        assert set(read) <= {"Di", "Ed"}


def test_a_record_that_was_mended_is_there_again(tmp_path: Path) -> None:
    voices = library(tmp_path)
    kept = voices.add_voice("ann", voice(), SAMPLE)
    recording = tmp_path / "voices" / f"{kept.id}.wav"
    data = recording.read_bytes()
    recording.unlink()
    assert voices.list_voices("ann") == ()
    recording.write_bytes(data)
    assert voices.list_voices("ann") == (kept,)


def test_only_their_owner_may_read_the_files(tmp_path: Path) -> None:
    voices = library(tmp_path)
    voices.add_voice("ann", voice(), SAMPLE)
    folder = tmp_path / "voices"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_what_one_owner_has_is_unknown_to_another(tmp_path: Path) -> None:
    voices = library(tmp_path)
    consent = voices.add_consent("ann", "Ada", "en", SAMPLE)
    kept = voices.add_voice("ann", voice(consent=consent.id), SAMPLE)
    assert voices.find_voice("bob", kept.id) is voices.find_voice("bob", "Ada") is None
    assert voices.list_voices("bob") == voices.list_consents("bob") == ()
    for attempt in (
        lambda: voices.read_sample("bob", kept.id),
        lambda: voices.delete_voice("bob", kept.id),
        lambda: voices.encode_again("bob", kept.id, REFERENCE),
    ):
        with pytest.raises(VoiceNotFound):
            attempt()
    for attempt in (
        lambda: voices.find_consent("bob", consent.id),
        lambda: voices.rename_consent("bob", consent.id, "Bob"),
        lambda: voices.delete_consent("bob", consent.id),
        lambda: voices.add_voice("bob", voice(consent=consent.id), SAMPLE),
    ):
        with pytest.raises(ConsentNotFound):
            attempt()
    assert voices.list_voices("ann") == (kept,)


def test_a_name_that_two_voices_have_names_none(tmp_path: Path) -> None:
    voices = library(tmp_path)
    one, two = (voices.add_voice("ann", voice(), SAMPLE) for _ in range(2))
    assert voices.find_voice("ann", "Ada") is None
    assert voices.find_voice("ann", two.id) == two
    voices.delete_voice("ann", two.id)
    assert voices.find_voice("ann", "Ada") == one


def test_an_id_wins_over_a_name(tmp_path: Path) -> None:
    voices = library(tmp_path)
    one = voices.add_voice("ann", voice(), SAMPLE)
    voices.add_voice("ann", voice(one.id), SAMPLE)
    assert voices.find_voice("ann", one.id) == one


def test_a_consent_stays_while_a_voice_needs_it(tmp_path: Path) -> None:
    voices = library(tmp_path)
    consent = voices.add_consent("ann", "Ada", "en", SAMPLE)
    kept = voices.add_voice("ann", voice(consent=consent.id), SAMPLE)
    with pytest.raises(ConsentInUse, match=kept.id):
        voices.delete_consent("ann", consent.id)
    voices.delete_voice("ann", kept.id)
    voices.delete_consent("ann", consent.id)
    assert files(tmp_path) == []


def test_another_encoding_is_kept(tmp_path: Path) -> None:
    kept = library(tmp_path).add_voice("ann", voice(), SAMPLE)
    voices = library(tmp_path)
    again = VoiceReference("Selamat pagi.", b"new", "other")
    voices.encode_again("ann", kept.id, again)
    for each in (voices, library(tmp_path)):
        found = each.find_voice("ann", kept.id)
        assert found is not None
        assert found.reference == again


def test_the_library_is_bounded(tmp_path: Path) -> None:
    voices = library(tmp_path, max_per_key=2, max_voices=3)
    for owner in ("ann", "ann", "bob"):
        voices.add_voice(owner, voice(), SAMPLE)
        voices.add_consent(owner, "Ada", "en", SAMPLE)
    for owner, limit in (("ann", "2 voices of one key"), ("bob", "3 voices")):
        with pytest.raises(VoiceLibraryFull, match=limit):
            voices.add_voice(owner, voice(), SAMPLE)
    with pytest.raises(VoiceLibraryFull, match="consents"):
        voices.add_consent("ann", "Ada", "en", SAMPLE)
    voices.delete_voice("ann", voices.list_voices("ann")[0].id)
    voices.add_voice("bob", voice(), SAMPLE)


def test_its_bytes_are_bounded_after_a_restart_too(tmp_path: Path) -> None:
    large = Pcm(bytes(600_000), 48_000)
    library(tmp_path, max_bytes=1024**2).add_voice("ann", voice(), large)
    with pytest.raises(VoiceLibraryFull, match="1048576 bytes"):
        library(tmp_path, max_bytes=1024**2).add_consent("ann", "Ada", "en", large)


@pytest.mark.parametrize(
    "broken",
    [b"", b"{", b"[]", b"{}", b'{"owner": "ann"}', b"\xff" * 99, b"[" * 100_000, b" " * 2_000_000],
    ids=["empty", "torn", "list", "nothing", "half", "bytes", "deep", "long"],
)
def test_a_broken_record_costs_itself_alone(tmp_path: Path, broken: bytes) -> None:
    voices = library(tmp_path)
    lost, kept = (voices.add_voice("ann", voice(name), SAMPLE) for name in ("Ada", "Bo"))
    (tmp_path / "voices" / f"{lost.id}.json").write_bytes(broken)
    after = library(tmp_path)
    assert after.list_voices("ann") == (kept,)
    with pytest.raises(VoiceNotFound):
        after.delete_voice("ann", lost.id)
    assert f"{lost.id}.wav" in files(tmp_path)  # a person may mend it


def left_behind(folder: Path, name: str, age_s: float) -> None:
    path = folder / "voices" / name
    path.write_bytes(b"half")
    written = path.stat().st_mtime - age_s
    os.utime(path, (written, written))


def test_what_a_crash_left_unfinished_is_cleared_away(tmp_path: Path) -> None:
    kept = library(tmp_path).add_voice("ann", voice(), SAMPLE)
    for name in ("0" * 24 + ".wav", "1" * 24 + ".json.tmp", "1" * 24 + ".wav.tmp"):
        left_behind(tmp_path, f"voice_{name}", 700.0)
    lone = f"voice_{'2' * 24}.json"
    left_behind(tmp_path, lone, 700.0)  # without a recording
    os.utime(tmp_path / "voices" / f"{kept.id}.wav", (0.0, 0.0))
    assert library(tmp_path).list_voices("ann") == (kept,)
    assert files(tmp_path) == sorted([f"{kept.id}.json", f"{kept.id}.wav", lone])


def test_files_that_are_no_records_stay(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    own = ["budi.lab", "budi.wav", "notes.tmp", "siti.wav.tmp", "voice_1.json.tmp"]
    for name in own:
        left_behind(tmp_path, name, 700.0)
    assert library(tmp_path).list_voices("ann") == ()
    assert files(tmp_path) == own


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    old = library(tmp_path)
    kept = old.add_voice("ann", voice(), SAMPLE)
    record = tmp_path / "voices" / f"{kept.id}.json"
    text = record.read_bytes()
    record.rename(record.with_suffix(".json.tmp"))  # the recording is there, its JSON not yet
    new = library(tmp_path)
    assert new.list_voices("ann") == ()
    record.with_suffix(".json.tmp").rename(record)
    assert record.read_bytes() == text
    assert new.list_voices("ann") == (kept,)
    assert new.read_sample("ann", kept.id) == SAMPLE


CRASHES = """
import os, sys
from pathlib import Path
from tests.unit.test_state_voices import SAMPLE, library, voice

def change(folder, last):
    voices, calls = library(folder), 0
    (kept,) = voices.list_voices("ann")
    def dying(call):
        def counted(*args, **options):
            nonlocal calls
            calls += 1
            if calls > last:
                os._exit(9)
            return call(*args, **options)
        return counted
    for name in ("open", "fsync", "replace", "unlink", "fdopen"):
        setattr(os, name, dying(getattr(os, name)))
    voices.add_voice("ann", voice("new"), SAMPLE)
    voices.delete_voice("ann", kept.id)
    os._exit(0)

for step in range(40):
    folder = Path(sys.argv[1]) / str(step)
    library(folder).add_voice("ann", voice("old"), SAMPLE)
    if (child := os.fork()) == 0:
        change(folder, step)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        break
"""


def test_a_crash_at_any_step_leaves_whole_voices(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASHES, str(tmp_path)]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=60)
    seen: set[frozenset[str]] = set()
    for folder in tmp_path.iterdir():
        after = library(folder)
        found = after.list_voices("ann")
        assert all(after.read_sample("ann", each.id) == SAMPLE for each in found)
        seen.add(frozenset(each.name for each in found))
    assert 10 < len(list(tmp_path.iterdir())) < 40
    assert seen == {frozenset({"old"}), frozenset({"old", "new"}), frozenset({"new"})}


@pytest.mark.parametrize(
    "hostile", ["../x", "/etc/passwd", "voice_..", "voice_" + "0" * 23, "a_b", ""]
)
def test_no_id_leads_out_of_the_folder(tmp_path: Path, hostile: str) -> None:
    assert not is_id(hostile)
    voices, records = library(tmp_path), RecordFolder(tmp_path)
    with pytest.raises(VoiceNotFound):
        voices.read_sample("ann", hostile)
    assert voices.find_voice("ann", hostile) is None
    for attempt in (records.recording, records.delete, lambda each: records.change(each, {})):
        with pytest.raises(ValueError, match="id of a record"):
            attempt(hostile)


async def test_a_folder_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    settings = VoiceLibrarySettings(folder=str(tmp_path / "file" / "voices"))
    state = StateServer(SessionSettings(), settings)
    with pytest.raises(StageFailed):
        await state.add_voice("ann", voice(), SAMPLE)
    assert await state.list_voices("ann") == ()


async def test_a_list_is_sent_without_codes(tmp_path: Path) -> None:
    state = StateServer(SessionSettings(), VoiceLibrarySettings(folder=str(tmp_path)))
    kept = await state.add_voice("ann", voice(), SAMPLE)
    listed = replace(kept, reference=replace(REFERENCE, codes=b""))
    assert await state.list_voices("ann") == (listed,)
    assert await state.find_voice("ann", kept.id) == kept


def test_a_record_is_readable_by_people(tmp_path: Path) -> None:
    kept = library(tmp_path).add_voice("ann", voice(), SAMPLE)
    fields = json.loads((tmp_path / "voices" / f"{kept.id}.json").read_text())
    assert fields["owner"] == "ann"
    assert fields["text"] == "Selamat pagi."
    assert (tmp_path / "voices" / f"{kept.id}.wav").stat().st_size == 44 + len(SAMPLE.samples)
