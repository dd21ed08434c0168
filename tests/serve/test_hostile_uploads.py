"""Hostile uploads through the real server: refused at once, and nothing is opened on the machine."""

import io
import random
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from tests.serve.calls import at_most, error_of, noise_wav, upload
from tests.serve.cluster import Cluster
from tests.unit.media_files import silence_bomb, wav_bytes, wav_header_with

pytestmark = pytest.mark.serve

REFUSED_S = 2.5
HEARD = "What is the capital of France?"


def zipped() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", wav_bytes())
    return sink.getvalue()


SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 59998 RTP/AVP 0\r\n"
)
HOSTILE = {
    "ffconcat": b"ffconcat version 1.0\nfile audio/en_jfk.wav\n",
    "sdp": SDP,
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "empty": b"",
    "random": random.Random(7).randbytes(50_000),
    "text": b"This is not audio at all.\n" * 100,
    "zip": zipped(),
    "1 Hz": wav_header_with(1, 1, bytes(6_000)),
    "no samples": wav_header_with(16_000, 1, b""),
    "truncated header": wav_bytes()[:30],
    "ten hours of FLAC silence": silence_bomb(36_000),
    "a header that claims 4 GB at 1 Hz": wav_header_with(1, 1, bytes(600), size=0xFFFFFFF0),
}


def open_ears(cluster: Cluster) -> set[tuple[int, str, int]]:
    """Process, kind and port of every socket on which the launcher's processes can be reached."""
    found: set[tuple[int, str, int]] = set()
    for process in cluster.processes():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            for connection in process.net_connections(kind="inet"):
                listens = connection.status == psutil.CONN_LISTEN
                is_udp = connection.type == socket.SOCK_DGRAM
                if listens or is_udp:
                    kind = "udp" if is_udp else "tcp"
                    found.add((process.pid, kind, connection.laddr.port))
    return found


@contextmanager
def nothing_is_opened(cluster: Cluster) -> Iterator[None]:
    """Watch the sockets all the while: what an SDP opens stays open for 20 s at most."""
    before = open_ears(cluster)
    new: set[tuple[int, str, int]] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            new.update(open_ears(cluster) - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(10)
    new.update(open_ears(cluster) - before)
    assert not new


@pytest.mark.parametrize(
    ("name", "route"),
    [(name, "/v1/speech-to-text") for name in HOSTILE]
    + [(name, "/v1/dialogue") for name in ("ffconcat", "sdp", "1 Hz")],
)
def test_a_hostile_upload_is_refused(cluster: Cluster, name: str, route: str):
    with nothing_is_opened(cluster), at_most(REFUSED_S):
        answer = cluster.client.post(route, files=upload(HOSTILE[name]))
    assert 400 <= answer.status_code < 500, answer.text
    error = error_of(answer)
    assert error["code"] in {
        "invalid_audio",
        "unsupported_format",
        "audio_too_long",
        "body_too_large",
        "missing_parameter",
    }
    assert "/tmp" not in error["message"]
    assert "Error" not in error["message"]
    good = cluster.client.post("/v1/speech-to-text", files=upload(noise_wav()))
    assert (good.status_code, good.json()["text"]) == (200, HEARD)


@pytest.mark.parametrize("name", ["a;$(id).wav", "-i", "../../x.wav", "x" * 4000, "a\tb.wav"])
def test_a_hostile_file_name_is_only_a_name(cluster: Cluster, name: str):
    with at_most(REFUSED_S):
        files = {"file": (name, noise_wav(), "audio/wav")}
        answer = cluster.client.post("/v1/speech-to-text", files=files)
    assert answer.status_code in (200, 400), answer.text


def test_a_truncated_recording_is_heard_as_far_as_it_goes(cluster: Cluster):
    with at_most(REFUSED_S):
        answer = cluster.client.post("/v1/speech-to-text", files=upload(noise_wav(2)[:30_000]))
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert error_of(answer)["code"] == "invalid_audio"


def test_hostile_and_good_uploads_at_once_do_not_disturb_each_other(cluster: Cluster):
    answers: list[tuple[str, int]] = []

    def send(kind: str, audio: bytes) -> None:
        with suppress(Exception):
            answer = cluster.client.post("/v1/speech-to-text", files=upload(audio), timeout=20)
            answers.append((kind, answer.status_code))

    uploads = [("bad", HOSTILE[name]) for name in ("sdp", "1 Hz", "random", "ffconcat")]
    uploads += [("good", noise_wav())] * 4
    threads = [threading.Thread(target=send, args=each, daemon=True) for each in uploads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    assert [status for kind, status in answers if kind == "good"] == [200] * 4
    bad = [status for kind, status in answers if kind == "bad"]
    assert len(bad) == 4
    assert all(400 <= status < 500 for status in bad)
