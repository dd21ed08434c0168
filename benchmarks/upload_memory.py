"""Memory of large uploads and downloads: the peak of every process, over what it had after small ones.

A file of 25 MB may raise it by no more than twice its size, all processes together. Each case has a
graph of its own, so that no case gains by what an earlier one has left; with `--together` all run on
one, and what is kept of one large request counts against the next. `make bench-memory`.
"""

import argparse
import contextlib
import io
import os
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import psutil

from benchmarks.server import Server, serving

ROOT = Path(__file__).parent.parent
MIB = 1024 * 1024
UPLOAD_BYTES = 25 * MIB - 1024
LONGEST_TEXT = ("The sea is calm today, and the wind is low. " * 100)[:4096]
_EVERY_S = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    """A request; `size` gives the larger of its body and its answer, in bytes."""

    name: str
    send: Callable[[httpx2.Client], int]


def wav(size: int, rate: int, channels: int, sample_bytes: int) -> bytes:
    """A tone of so many bytes."""
    frames = size // (channels * sample_bytes)
    tone = (8000 * np.sin(2 * np.pi * 220 / rate * np.arange(frames))).astype("<i2")
    high = tone.view(np.uint8).reshape(frames, 1, 2)
    low = np.zeros((frames, 1, sample_bytes - 2), np.uint8)
    samples = np.repeat(np.concatenate([low, high], axis=2), channels, axis=1)
    sink = io.BytesIO()
    with wave.open(sink, "wb") as writer:
        writer.setparams((channels, sample_bytes, rate, 0, "NONE", "NONE"))
        writer.writeframes(samples.tobytes())
    return sink.getvalue()


def cases(*, small: bool = False) -> Iterator[Case]:
    """Every route that takes a file, and the largest answers of text to speech."""
    size = 200_000 if small else UPLOAD_BYTES
    text = LONGEST_TEXT[:50] if small else LONGEST_TEXT
    recordings = {
        "16 bit, 44.1 kHz, stereo": wav(size, 44_100, 2, 2),
        "24 bit, 96 kHz, stereo": wav(size, 96_000, 2, 3),
    }
    for path in (
        "/v1/speech-to-text", "/v1/audio/transcriptions", "/v1/dialogue", "/v1/encode-reference",
    ):  # fmt: skip
        for kind, recording in recordings.items():
            # No sample of a voice is as long: that is refused once it is decoded.
            status = 400 if path == "/v1/encode-reference" and not small else 200
            yield Case(f"up: {path} ({kind})", _upload(path, recording, status))
    for name, headers, body in (
        ("JSON", {}, {"format": "wav", "sample_rate": 48_000}),
        ("binary", {"Accept": "audio/*"}, {"format": "wav", "sample_rate": 48_000}),
        ("events", {}, {"format": "wav", "sample_rate": 48_000, "stream": True}),
    ):
        yield Case(f"down: /v1/text-to-speech ({name})", _download({"text": text, **body}, headers))


def _upload(path: str, recording: bytes, status: int) -> Callable[[httpx2.Client], int]:
    def send(client: httpx2.Client) -> int:
        answer = client.post(path, files={"file": ("a.wav", recording, "audio/wav")})
        if answer.status_code != status:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
        return len(recording)

    return send


def _download(body: dict[str, object], headers: dict[str, str]) -> Callable[[httpx2.Client], int]:
    def send(client: httpx2.Client) -> int:
        with client.stream("POST", "/v1/text-to-speech", json=body, headers=headers) as answer:
            if answer.status_code != 200:
                raise SystemExit(f"{answer.status_code} {answer.read()[:300]!r}")
            return sum(len(piece) for piece in answer.iter_bytes())

    return send


# ---- what the processes hold --------------------------------------------------------------------


@dataclass(slots=True)
class Watch:
    """The peak of every process of the application while the block runs, over `before`.

    The kernel keeps the peaks; a process that is born and dies in between, as a decoding child
    does, is looked at every few milliseconds.
    """

    before: dict[int, int]
    names: dict[int, str]
    peaks: dict[int, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @classmethod
    def over(cls, server: Server) -> "Watch":
        """What the processes hold now is what later peaks are compared with."""
        before: dict[int, int] = {}
        names: dict[int, str] = {}
        for process in [server.process, *server.process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error, OSError):
                before[process.pid] = _memory(process.pid, "VmRSS")
                names[process.pid] = _name(process)
        return cls(before, names)

    def again(self) -> "Watch":
        """For another request, over the same."""
        return Watch(dict(self.before), dict(self.names))

    def __enter__(self) -> "Watch":
        for pid in self.before:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # peak := now
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()
        self._note()

    def _look(self) -> None:
        parents = [p for p, name in self.names.items() if "decoder" in name]
        while not self._over.wait(_EVERY_S):
            for parent in parents:
                self._note_children(parent)

    def _note_children(self, parent: int) -> None:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            for pid in map(int, children):
                with contextlib.suppress(OSError):
                    # A fork begins with its parent's pages: only what it adds is its own.
                    self.before.setdefault(pid, self.before[parent])
                    self.names.setdefault(pid, "decoding child")
                    self.peaks[pid] = max(self.peaks.get(pid, 0), _memory(pid, "VmHWM"))

    def _note(self) -> None:
        for pid in self.before:
            with contextlib.suppress(OSError):
                self.peaks[pid] = max(self.peaks.get(pid, 0), _memory(pid, "VmHWM"))

    def raised(self) -> list[tuple[str, int]]:
        """What each process took more than before, the most first."""
        rows = [
            (self.names[pid], peak - self.before[pid])
            for pid, peak in self.peaks.items()
            if peak > self.before[pid]
        ]
        return sorted(rows, key=lambda row: -row[1])


def _memory(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0


def _name(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    return command.removeprefix(sys.executable)[:48].strip() or process.name()


def main() -> int:
    """Run every case; 0 where all stay within twice the size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=str(ROOT / "configs/test.yaml"))
    parser.add_argument("--only", default="", help="part of a case's name")
    parser.add_argument("--together", action="store_true", help="all cases on one graph")
    options = parser.parse_args()
    print(f"load average before: {os.getloadavg()[0]:.2f}")
    wanted = [case for case in cases() if options.only in case.name]
    groups = [wanted] if options.together else [[case] for case in wanted]
    passed = [together(options.config, group) for group in groups]
    return 0 if all(passed) else 1


def together(config: str, group: list[Case]) -> bool:
    """Run cases one after the other on one graph; whether all kept within their bounds."""
    with serving(config) as server:
        server.client.timeout = 300
        for case in cases(small=True):
            case.send(server.client)  # what the first request of all needs is no one request's
        first = Watch.over(server)
        passed = [judge(server, first.again(), case) for case in group]
    return all(passed)


def judge(server: Server, watch: Watch, case: Case) -> bool:
    """Print one case; whether it keeps within its bound."""
    with watch:
        size = case.send(server.client)
    rows = watch.raised()
    total = sum(more for _, more in rows)
    verdict = "ok" if total <= 2 * size else "TOO MUCH"
    print(
        f"{case.name}: {size / MIB:.1f} MiB raise {total / MIB:.1f} MiB, "
        f"{total / size:.2f} times: {verdict}"
    )
    for name, more in rows:
        if more >= MIB / 2:
            print(f"    {more / MIB:6.1f} MiB  {name}")
    return total <= 2 * size


if __name__ == "__main__":
    sys.exit(main())
