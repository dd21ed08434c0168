"""A folder of records, each a JSON file and a recording; what was written survives a crash."""

import json
import logging
import os
import re
import time
import wave
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from deployments.audio import BYTES_PER_SAMPLE, Pcm

logger = logging.getLogger("ray.serve")

Fields = dict[str, Any]

UNREADABLE = "a record of the voice library cannot be read"
_NAME = re.compile(r"[a-z]{1,16}_[0-9a-f]{24}")
_PART = re.compile(rf"(?P<id>{_NAME.pattern})\.(wav|wav\.tmp|json\.tmp)")
_LOST_S = 600.0  # no process still writes a file that is so old
_LONGEST_RECORD = 16 * 1024 * 1024  # a remote engine's codes are the recording
_UNFINISHED = ".tmp"


@dataclass(frozen=True, slots=True)
class Version:
    """A state of a record, another one after each change; `size` is the bytes of its files."""

    changed_at: int
    inode: int
    size: int


class RecordFolder:
    """Records by ids that the caller makes (`is_id`), for one process at a time.

    A record is there once its JSON file is; a crash in the middle of `add` or `delete` leaves it
    whole or not at all. Every method may raise `OSError`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def changed_at(self) -> int:
        """When a record last came or went, in nanoseconds; 0 where there is no folder."""
        try:
            return self._folder.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def versions(self) -> dict[str, Version]:
        """Every record's version, by its id; those of broken ones too."""
        if not self._folder.is_dir():
            return {}
        versions = {
            path.stem: self._version(path.stem)
            for path in self._folder.glob("*.json")
            if is_id(path.stem)
        }
        return {record_id: version for record_id, version in versions.items() if version}

    def read(self, record_id: str) -> Fields | None:
        """The fields of a record; None where it is broken, which is told to the log."""
        fields = _read(self._json(record_id))
        if fields is None:
            logger.error(UNREADABLE, extra={"record": record_id})
        return fields

    def clear_away(self) -> None:
        """Delete what a crash left unfinished, but nothing that another process may be writing."""
        if not self._folder.is_dir():
            return
        written_before = time.time() - _LOST_S  # noqa: TID251 - compared with the times of files
        for path in self._folder.iterdir():
            part = _PART.fullmatch(path.name)
            if part is None or (path.suffix == ".wav" and self._json(part["id"]).exists()):
                continue
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < written_before:
                    path.unlink()

    def add(self, record_id: str, fields: Fields, recording: Pcm) -> int:
        """Keep a new record; the bytes of its files."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        wav = _as_wav(recording)
        _write(self._wav(record_id), wav)
        return len(wav) + self.change(record_id, fields)

    def change(self, record_id: str, fields: Fields) -> int:
        """Keep other fields of a record; their bytes."""
        data = json.dumps(fields).encode()
        _write(self._json(record_id), data)
        return len(data)

    def recording(self, record_id: str) -> Pcm:
        """The recording of a record."""
        with wave.open(str(self._wav(record_id)), "rb") as file:
            return Pcm(file.readframes(file.getnframes()), file.getframerate())

    def delete(self, record_id: str) -> None:
        """Forget a record that is there."""
        self._json(record_id).unlink()
        _sync_folder(self._folder)
        self._wav(record_id).unlink(missing_ok=True)

    def _version(self, record_id: str) -> Version | None:
        """None where another process has just deleted the record."""
        recording = self._wav(record_id)
        try:
            fields = self._json(record_id).stat()
            size = recording.stat().st_size if recording.is_file() else 0
        except FileNotFoundError:
            return None
        return Version(fields.st_mtime_ns, fields.st_ino, fields.st_size + size)

    def _json(self, record_id: str) -> Path:
        return self._folder / f"{_checked(record_id)}.json"

    def _wav(self, record_id: str) -> Path:
        return self._folder / f"{_checked(record_id)}.wav"


def is_id(text: str) -> bool:
    """Whether a record can have this id: a word and 24 hexadecimal digits."""
    return _NAME.fullmatch(text) is not None


def _checked(record_id: str) -> str:
    if not is_id(record_id):
        raise ValueError("not the id of a record")
    return record_id


def _read(path: Path) -> Fields | None:
    """The fields; None where they cannot be read, or there is no recording."""
    if path.stat().st_size > _LONGEST_RECORD or not path.with_suffix(".wav").is_file():
        return None
    try:
        fields = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return cast("Fields", fields) if isinstance(fields, dict) else None


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, so that it lasts."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_wav(recording: Pcm) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, BYTES_PER_SAMPLE, recording.sample_rate, 0, "NONE", "NONE"))
        writer.writeframes(recording.samples)
    return file.getvalue()
