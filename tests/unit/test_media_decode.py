"""Good files decode to exactly the samples that the bare library makes of them."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryFile

import numpy as np
import pytest
from faster_whisper.audio import decode_audio

from configs.settings import AudioSettings
from deployments.audio import Pcm
from deployments.errors import StageTimeout
from serve_app.media import decode
from serve_app.media.decode import AudioDecoder
from tests.unit.media_files import CONTAINERS, example, wav_bytes


@pytest.fixture(scope="module")
def decoder() -> Iterator[AudioDecoder]:
    decoder = AudioDecoder(AudioSettings(decode_timeout_s=20))
    yield decoder
    decoder.close()


def same(pcm: Pcm, data: bytes) -> bool:
    expected = decode_audio(io.BytesIO(data), 16_000)
    decoded = np.frombuffer(pcm.samples, "<i2").astype(np.float32) / 32768.0
    return pcm.sample_rate == 16_000 and np.array_equal(decoded, expected)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", CONTAINERS)
async def test_samples_equal_the_librarys_own(
    decoder: AudioDecoder, name: str, channels: int
) -> None:
    data = example(name, channels)
    pcm = await decoder.decode(io.BytesIO(data))
    assert same(pcm, data)
    assert 1.4 < pcm.duration_s < 1.7


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000])
async def test_samples_equal_the_librarys_own_over_several_groups(
    decoder: AudioDecoder, rate: int
) -> None:
    data = wav_bytes(rate, 1_100_000 / rate)
    assert same(await decoder.decode(io.BytesIO(data)), data)


@pytest.mark.parametrize("name", ["wav", "mp3", "flac", "ogg_opus", "webm_opus", "adts"])
@pytest.mark.parametrize("share", [0.3, 0.9])
async def test_a_truncated_file_gives_what_the_library_finds_in_it(
    decoder: AudioDecoder, name: str, share: float
) -> None:
    data = example(name, duration_s=5.0)
    data = data[: int(len(data) * share)]
    assert same(await decoder.decode(io.BytesIO(data)), data)


@pytest.mark.parametrize("name", ["mp3", "adts", "flac"])
async def test_an_id3_tag_is_skipped(decoder: AudioDecoder, name: str) -> None:
    data = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256) + example(name)
    assert same(await decoder.decode(io.BytesIO(data)), data)


async def test_a_wav_that_was_streamed_with_open_sizes_decodes(decoder: AudioDecoder) -> None:
    data = bytearray(wav_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert same(await decoder.decode(io.BytesIO(data)), bytes(data))


async def test_a_file_on_disk_is_read_in_place_and_keeps_its_bytes(decoder: AudioDecoder) -> None:
    data = wav_bytes()
    with TemporaryFile() as upload:
        upload.write(data)
        assert same(await decoder.decode(upload), data)
        upload.seek(0)
        assert upload.read() == data


@pytest.mark.parametrize("max_size", [1024, 1024 * 1024])
async def test_a_spooled_upload_stays_where_it_is(decoder: AudioDecoder, max_size: int) -> None:
    data = wav_bytes()
    with SpooledTemporaryFile(max_size=max_size) as upload:
        upload.write(data)
        on_disk = upload.name is not None
        assert same(await decoder.decode(upload), data)
        assert (upload.name is not None) == on_disk


async def test_more_jobs_than_slots_all_finish(decoder: AudioDecoder) -> None:
    data = [wav_bytes(16_000, 0.1 * n) for n in range(1, 13)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(decoder.decode(io.BytesIO(d))) for d in data]
    assert [len(task.result().samples) for task in tasks] == [3_200 * n for n in range(1, 13)]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def alive(pid: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_cancelling_ends_the_child(decoder: AudioDecoder) -> None:
    slow = io.BytesIO(wav_bytes(44_100, 120.0))
    pid = decoder.process_id
    task = asyncio.get_running_loop().create_task(decoder.decode(slow))
    await until(lambda: children(pid))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not children(pid))
    assert decoder.process_id == pid
    assert await decoder.decode(io.BytesIO(wav_bytes()))


async def test_a_job_survives_the_death_of_the_decoder_process(decoder: AudioDecoder) -> None:
    pid = decoder.process_id
    slow = io.BytesIO(wav_bytes(44_100, 60.0))
    task = asyncio.get_running_loop().create_task(decoder.decode(slow))
    await until(lambda: children(pid))
    orphans = children(pid)
    os.kill(pid, signal.SIGKILL)
    assert (await task).duration_s == 60.0
    assert decoder.process_id != pid
    await until(lambda: not any(alive(orphan) for orphan in orphans))


async def test_a_dead_decoder_process_is_replaced_for_the_next_job(decoder: AudioDecoder) -> None:
    pid = decoder.process_id
    os.kill(pid, signal.SIGKILL)
    assert (await decoder.decode(io.BytesIO(wav_bytes()))).duration_s == 1.0
    assert decoder.process_id != pid


async def test_a_stopped_decoder_process_is_a_timeout_and_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "_START_GRACE_S", 0.0)
    decoder = AudioDecoder(AudioSettings(decode_timeout_s=0.2))
    try:
        os.kill(decoder.process_id, signal.SIGSTOP)
        with pytest.raises(StageTimeout):
            await decoder.decode(io.BytesIO(wav_bytes()))
    finally:
        decoder.close()


async def test_no_descriptor_is_left_after_many_jobs(decoder: AudioDecoder) -> None:
    good, bad = wav_bytes(duration_s=0.1), b"RIFF\x00\x00\x00\x00WAVEnothing"
    folders = Path("/proc/self/fd"), Path(f"/proc/{decoder.process_id}/fd")

    def counts() -> tuple[int, ...]:
        return tuple(len(list(folder.iterdir())) for folder in folders)

    await until(lambda: not children(decoder.process_id))
    before = counts()
    for turn in range(50):
        task = decoder.decode(io.BytesIO(good if turn % 2 else bad))
        await asyncio.gather(task, return_exceptions=True)
    await until(lambda: all(now <= then for now, then in zip(counts(), before, strict=True)))


def test_the_decoder_process_loads_neither_ray_nor_fastapi() -> None:
    code = (
        "import sys, serve_app.media.decode_worker\n"
        "print({'ray', 'fastapi', 'starlette', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"set()"


async def test_the_decoder_process_ends_when_its_server_does() -> None:
    code = (
        "import os\n"
        "from configs.settings import AudioSettings\n"
        "from serve_app.media.decode import AudioDecoder\n"
        "print(AudioDecoder(AudioSettings()).process_id, flush=True)\n"
        "os._exit(0)"
    )
    server = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    await until(lambda: not alive(server.stdout.decode().strip()))


def test_a_decoder_serves_a_loop_in_any_thread() -> None:
    decoder = AudioDecoder(AudioSettings())

    async def in_thread() -> Pcm:
        return await asyncio.to_thread(lambda: asyncio.run(decoder.decode(io.BytesIO(wav_bytes()))))

    try:
        assert asyncio.run(in_thread()).duration_s == 1.0
    finally:
        decoder.close()


def test_a_decoder_serves_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    decoder = AudioDecoder(AudioSettings())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pcm = runner.run(decoder.decode(io.BytesIO(wav_bytes())))
        assert pcm.duration_s == 1.0
    finally:
        decoder.close()
