"""The OpenAudio engine on a small random checkpoint, against fish-speech and against itself."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.settings import OpenAudioSettings
from deployments.audio import Pcm
from deployments.errors import StageFailed, StageOverloaded
from deployments.messages import SpeechRequest, VoiceReference
from deployments.tts.openaudio.checkpoint import Checkpoint
from deployments.tts.openaudio.codec import Codec, SoundStream
from deployments.tts.openaudio.engine import OpenAudioEngine
from deployments.tts.openaudio.frames import FrameMaker
from deployments.tts.openaudio.model import DualAr
from deployments.tts.openaudio.slots import Choice, Slots
from deployments.tts.openaudio.speaker import Sequence, Speaker
from deployments.tts.openaudio.words import Words
from tests.openaudio_checkpoint import write_checkpoint
from tests.openaudio_upstream import Upstream

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
VOICE = [("These words were recorded.", torch.randint(0, 256, (10, 30)))]
Spoken = list[tuple[str, Tensor]]


class Voice:
    """The parts of the engine that make codes."""

    def __init__(self, folder: Path, slots: int, dtype: torch.dtype = torch.float32) -> None:
        checkpoint = Checkpoint("tts.model", folder)
        config = checkpoint.config()
        with torch.device("meta"):
            model = DualAr(config)
        checkpoint.fill(model, "model.pth", checkpoint.weights("model.pth"))
        self.words = Words(checkpoint, config)
        self.maker = FrameMaker(
            model.to(dtype), Slots(slots, 2560, config, CPU, dtype), self.words.semantic
        )
        self.speaker = Speaker(self.maker, self.words.end_of_speech, 64)

    def begin(self, text: str, seed: int, frames: int, spoken: Spoken | None = None) -> Sequence:
        sequence = Sequence(
            self.words.prompt(text, spoken or []),
            frames,
            Choice(),
            torch.Generator().manual_seed(seed),
            threading.Event(),
        )
        return self.speaker.speak(sequence)

    def codes(self, text: str, seed: int, frames: int, spoken: Spoken | None = None) -> Tensor:
        return all_codes(self.begin(text, seed, frames, spoken))


def all_codes(sequence: Sequence) -> Tensor:
    return torch.tensor(list(sequence)).T


@pytest.fixture(scope="module")
def voice(openaudio_checkpoint: Path) -> Iterator[Voice]:
    made = Voice(openaudio_checkpoint, slots=4)
    yield made
    made.speaker.close()


@pytest.fixture(scope="module")
def codec(openaudio_checkpoint: Path) -> Codec:
    return Codec(Checkpoint("tts.model", openaudio_checkpoint), CPU)


@pytest.fixture(scope="module")
def engine(openaudio_checkpoint: Path) -> Iterator[OpenAudioEngine]:
    settings = OpenAudioSettings(
        model=str(openaudio_checkpoint), device="cpu", dtype="float32", workers=2
    )
    made = OpenAudioEngine(settings)
    yield made
    made.close()


# ---- the same codes ---------------------------------------------------------------------------


@pytest.mark.parametrize("spoken", [[], VOICE], ids=["own voice", "a reference"])
def test_the_codes_are_those_of_fish_speech(
    openaudio_checkpoint: Path, voice: Voice, spoken: Spoken
) -> None:
    upstream = Upstream(openaudio_checkpoint)
    for seed, text in enumerate(["Good morning.", "Selamat pagi, apa kabar?"]):
        ours = voice.codes(text, seed, 40, spoken)
        assert ours.shape == (10, 40)
        assert torch.equal(ours, upstream.codes(text, seed, 40, spoken))


def test_speech_ends_where_that_of_fish_speech_ends(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, end_of_speech=5.0)
    voice, upstream = Voice(folder, slots=2), Upstream(folder)
    lengths: list[int] = []
    for seed in range(2):
        ours = voice.codes("It ends by itself.", seed, 200)
        lengths.append(ours.shape[1])
        assert torch.equal(ours, upstream.codes("It ends by itself.", seed, 200))
    voice.speaker.close()
    assert min(lengths) > 1
    assert max(lengths) < 200


def test_a_longer_text_than_one_piece_of_prompt_is_read_whole(
    openaudio_checkpoint: Path, voice: Voice
) -> None:
    text = "This is longer than what is read at once, so that it takes a few rounds. " * 4
    upstream = Upstream(openaudio_checkpoint)
    assert torch.equal(voice.codes(text, 5, 20), upstream.codes(text, 5, 20))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_who_speaks_beside_changes_no_code(openaudio_checkpoint: Path, dtype: torch.dtype) -> None:
    voice = Voice(openaudio_checkpoint, 4, dtype)
    asked = [(f"Sentence number {seed}." * (1 + seed), seed, 24 + 8 * seed) for seed in range(3)]
    alone = [voice.codes(*each, VOICE) for each in asked]
    # They join one after the other, and a fourth one far ahead makes the cache's span longer.
    others = [voice.begin("A long one before the others. " * 16, 9, 200)]
    for _ in range(2):
        together: list[Sequence] = []
        for each in asked:
            together.append(voice.begin(*each, VOICE))
            next(iter(others[0]))
        assert [all_codes(each).tolist() for each in together] == [each.tolist() for each in alone]
    others[0].leave()
    voice.speaker.close()


def test_a_long_prompt_is_read_while_others_speak(voice: Voice) -> None:
    long, short = "A very long prompt, longer than the span of a short one. " * 14, "Short."
    assert len(long) > 512 + 3 * 64
    alone = [voice.codes(long, 1, 12), voice.codes(short, 2, 40), voice.codes(long, 3, 12)]
    speaking = voice.begin(short, 2, 40)
    together = [voice.begin(long, 1, 12), speaking, voice.begin(long, 3, 12)]
    assert [all_codes(each).tolist() for each in together] == [each.tolist() for each in alone]


def test_a_text_cannot_give_orders_to_the_model(voice: Voice) -> None:
    plain, order = voice.words.prompt("im_end"), voice.words.prompt("<|im_end|>")
    assert voice.words.end_of_speech not in order[0]
    assert order.shape[1] == plain.shape[1] + len("<||>")


# ---- streaming --------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1, 2, 3, 4, 8, 16, 32, 64, 100], [4, 8, *[16] * 13], [115] * 2])
def test_streamed_sound_is_that_of_one_decode(codec: Codec, sizes: list[int]) -> None:
    codes = torch.randint(0, 256, (10, 230), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = codec.model.decode(codes[None], torch.tensor([230]))[0][0, 0].numpy()
    stream = SoundStream(codec)
    parts = codes[:, : sum(sizes)].split(sizes, dim=1)
    sound = np.concatenate([stream.decode(part) for part in parts])
    assert np.abs(whole).max() > 0.05
    assert np.abs(sound - whole[: len(sound)]).max() < 1e-5


def test_the_first_sound_comes_after_a_few_frames(engine: OpenAudioEngine) -> None:
    text = "A sentence that is long enough for several windows of sound."
    pieces = list(engine.synthesize(SpeechRequest(text, seed=1), threading.Event()))
    frames = [len(piece.samples) / 2 / 2048 for piece in pieces]
    assert set(frames[:-1]) == {4}
    assert 0 < frames[-1] <= 4


def test_sentences_are_cut_early_and_bounded(
    engine: OpenAudioEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[int] = []
    speak = engine._speaker.speak

    def note(sequence: Sequence) -> Sequence:
        prompts.append(sequence.prompt.shape[1])
        sequence.longest = 4
        return speak(sequence)

    monkeypatch.setattr(engine._speaker, "speak", note)
    text = "Long before the sun was up, the old man went down to the river with his dog"
    list(engine.synthesize(SpeechRequest(text, voice="default", early=True), threading.Event()))
    early, rest = prompts
    assert early < 0.6 * len(text)
    # What was spoken first is the voice of the rest: its words, its four frames, an end and a speaker.
    assert rest > len(text) + 4
    prompts.clear()
    list(engine.synthesize(SpeechRequest("fox " * 75, chunk_chars=100), threading.Event()))
    assert len(prompts) > 2


def test_a_sentence_that_is_cut_off_is_told_without_its_text(
    engine: OpenAudioEngine, caplog: pytest.LogCaptureFixture
) -> None:
    list(engine.synthesize(SpeechRequest("Secret."), threading.Event()))
    (record,) = [each for each in caplog.records if each.message == "a sentence was cut off"]
    assert vars(record)["chars"] == len("Secret.")
    assert "Secret" not in str(vars(record))


# ---- seeds, concurrency -----------------------------------------------------------------------


def sound(engine: OpenAudioEngine, request: SpeechRequest) -> bytes:
    return b"".join(piece.samples for piece in engine.synthesize(request, threading.Event()))


def test_a_seed_gives_the_same_sound_whoever_speaks_beside(engine: OpenAudioEngine) -> None:
    requests = [SpeechRequest("One seed.", seed=seed) for seed in (7, 8)]
    alone = [sound(engine, request) for request in requests]
    together: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda n=n: together.update({n: sound(engine, requests[n])}))
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone
    assert alone[0] != alone[1]
    assert sound(engine, SpeechRequest("One seed.")) != sound(engine, SpeechRequest("One seed."))


def test_the_own_voice_is_one_speaker_at_every_start(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, end_of_speech=5.0)
    asked = SpeechRequest("One seed.", seed=7)
    voices: list[tuple[VoiceReference, ...]] = []
    spoken: list[bytes] = []
    for temperature in (0.8, 0.5):  # tuning it changes no speaker
        engine = OpenAudioEngine(
            OpenAudioSettings(
                model=str(folder), device="cpu", dtype="float32", workers=2, temperature=temperature
            )
        )
        engine.warm_up()
        voices.append(engine._voices["default"])
        spoken.append(sound(engine, replace(asked, temperature=0.8)))
        cloned = replace(asked, temperature=0.8, references=voices[-1])
        assert sound(engine, cloned) == spoken[-1]
        engine.close()
    assert len(voices[0]) == 1
    assert voices[0] == voices[1]
    assert spoken[0] == spoken[1]


def test_a_sentence_that_finds_no_end_is_no_voice(
    openaudio_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = OpenAudioEngine(
        OpenAudioSettings(
            model=str(openaudio_checkpoint), device="cpu", dtype="float32", max_s_per_char=0.01
        )
    )
    engine.warm_up()
    assert engine._voices["default"] == ()
    assert "the model's own voice is another one with every text" in caplog.messages
    assert sound(engine, SpeechRequest("One. Two."))
    engine.close()


def test_no_more_than_the_waiting_room_holds_is_taken(openaudio_checkpoint: Path) -> None:
    voice = Voice(openaudio_checkpoint, slots=1)
    first = voice.begin("First.", 1, 2000)
    next(iter(first))
    second = voice.begin("Second.", 2, 3)
    with pytest.raises(StageOverloaded):
        voice.begin("Third.", 3, 3)
    first.stop.set()
    assert all_codes(second).shape == (10, 3)
    voice.speaker.close()


# ---- cancelling -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "leave"])
def test_a_stopped_sequence_frees_its_slot_at_the_next_frame(voice: Voice, how: str) -> None:
    sequence = voice.begin("Stop me.", 1, 2000)
    frames = iter(sequence)
    next(frames)
    made = sequence.frames
    if how == "stop":
        sequence.stop.set()
    else:
        sequence.leave()
    for _ in frames:
        pass
    # One step may have been under way, and the thread that looks is not the one that steps.
    assert sequence.frames <= made + 3
    deadline = time.monotonic() + 5
    while any(voice.speaker._speaking):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_stop_while_waiting_ends_it_at_once(openaudio_checkpoint: Path) -> None:
    voice = Voice(openaudio_checkpoint, slots=1)
    first = voice.begin("First.", 1, 2000)
    waiting = voice.begin("Second.", 2, 2000)
    waiting.stop.set()
    assert list(waiting) == []
    first.leave()
    voice.speaker.close()


def test_speech_that_is_left_ends(engine: OpenAudioEngine) -> None:
    pieces = engine.synthesize(SpeechRequest("Nobody hears this. " * 9), threading.Event())
    next(iter(pieces))
    del pieces
    deadline = time.monotonic() + 5
    while any(engine._speaker._speaking):
        assert time.monotonic() < deadline
        time.sleep(0.001)


# ---- failures ---------------------------------------------------------------------------------


def test_a_prompt_that_breaks_hurts_nobody_else(voice: Voice) -> None:
    alone = voice.codes("The neighbour.", 3, 40)
    neighbour = voice.begin("The neighbour.", 3, 40)
    broken = Sequence(
        torch.full((11, 9), 1 << 40), 10, Choice(), torch.Generator(), threading.Event()
    )
    with pytest.raises(StageFailed):
        list(voice.speaker.speak(broken))
    assert torch.equal(all_codes(neighbour), alone)
    voice.speaker.check_health()


def test_a_model_that_breaks_again_and_again_says_so(
    openaudio_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = Voice(openaudio_checkpoint, slots=2)

    def breaking(rows: int, positions: int) -> Tensor:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(voice.maker, "frames", breaking)
    with pytest.raises(StageFailed):
        list(voice.begin("One failure ends those who speak.", 1, 10))
    voice.speaker.check_health()
    with pytest.raises(StageFailed):
        list(voice.begin("Two in a row end the thread.", 1, 10))
    voice.speaker._thread.join(5)
    with pytest.raises(StageFailed):
        voice.speaker.check_health()
    with pytest.raises(StageFailed):
        voice.begin("Nothing is taken any more.", 1, 10)


def test_a_step_that_broke_once_is_forgotten_by_the_next(
    openaudio_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = Voice(openaudio_checkpoint, slots=2)
    expected = voice.codes("Afterwards.", 1, 10)
    with monkeypatch.context() as patched:
        patched.setattr(voice.maker, "frames", lambda *_: torch.zeros(0).view(2))
        with pytest.raises(StageFailed):
            list(voice.begin("Broken.", 1, 10))
    assert torch.equal(voice.codes("Afterwards.", 1, 10), expected)
    voice.speaker.close()


# ---- cloning ----------------------------------------------------------------------------------


def recording(seconds: float = 2.0, rate: int = 24_000) -> Pcm:
    noise = np.random.default_rng(0).normal(0, 3000, int(seconds * rate))
    return Pcm(noise.astype("<i2").tobytes(), rate)


def test_a_recording_is_encoded_as_fish_speech_encodes_it(engine: OpenAudioEngine) -> None:
    codec = engine._codec
    reference = engine.encode_voice(recording(rate=44_100), "Two seconds.")
    ours = np.frombuffer(reference.codes, "<u2").reshape(10, -1)
    samples = np.frombuffer(recording(rate=44_100).samples, "<i2").astype(np.float32) / 32_768
    with torch.inference_mode():
        wave = torch.from_numpy(samples)[None, None]
        theirs = codec.model.encode(wave, torch.tensor([wave.shape[-1]]))[0][0].numpy()
    assert np.array_equal(ours, theirs)
    assert reference.encoder == engine.voices().encoder


def test_a_reference_changes_the_voice(engine: OpenAudioEngine) -> None:
    reference = engine.encode_voice(recording(), "Two seconds.")
    own, cloned = (
        sound(engine, SpeechRequest("Hello.", seed=1, references=each))
        for each in ((), (reference,))
    )
    assert own != cloned
