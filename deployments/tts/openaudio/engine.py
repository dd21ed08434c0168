"""Text to speech with OpenAudio S1-mini."""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from configs.settings import OpenAudioSettings
from deployments.audio import Pcm
from deployments.errors import ContextOverflow, InvalidSetting, VoiceNotFound
from deployments.messages import SpeechRequest, VoiceCatalog, VoiceInfo, VoiceReference
from deployments.sentences import split_sentences
from deployments.tts.openaudio.checkpoint import Checkpoint
from deployments.tts.openaudio.codec import Codec, SoundStream
from deployments.tts.openaudio.frames import FrameMaker
from deployments.tts.openaudio.lengths import spoken_bytes
from deployments.tts.openaudio.model import DualAr
from deployments.tts.openaudio.own_voice import OWN_WORDS, own_codes
from deployments.tts.openaudio.slots import Choice, Slots
from deployments.tts.openaudio.sound import Loudness, Pace, pieces
from deployments.tts.openaudio.speaker import Sequence, Speaker
from deployments.tts.openaudio.voices import VoiceBooth, preload
from deployments.tts.openaudio.windows import Windows
from deployments.tts.openaudio.words import Words
from deployments.weights import resolve_weights

logger = logging.getLogger(__name__)

OWN_VOICE = "default"
_LICENCE = "CC-BY-NC-SA-4.0"
_MAX_SENTENCE_CHARS = 240
_LEAST_FRAMES = 32  # a prompt must leave room for so many
_SHORTEST_LIMIT_S = 0.5
_OWN_SHARE = 4  # the own voice's reference may take a fourth of `max_seq_len`


class OpenAudioEngine:
    """One model that speaks as many texts at a time as there are workers."""

    def __init__(self, settings: OpenAudioSettings) -> None:
        self._settings = settings
        if OWN_VOICE in settings.voices:
            raise InvalidSetting(f"tts.voices.{OWN_VOICE}", "this is the model's own voice")
        if settings.default_voice not in (OWN_VOICE, *settings.voices):
            raise InvalidSetting(
                "tts.default_voice", f"'{settings.default_voice}' is not one of tts.voices"
            )
        device = _device(settings.device)
        folder = resolve_weights("tts.model", settings.model, "openaudio")
        checkpoint = Checkpoint("tts.model", folder)
        self._words, maker = _model(checkpoint, settings, device)
        self._codec = Codec(checkpoint, device)
        logger.warning(
            "the voice's weights are for non-commercial use only",
            extra={"model": settings.model, "licence": _LICENCE},
        )
        self._booth = VoiceBooth(self._codec, settings.max_references, settings.max_reference_s)
        self._voices: dict[str, tuple[VoiceReference, ...]] = {OWN_VOICE: ()} | {
            name: preload(f"tts.voices.{name}", path, self._booth, self._codec.sample_rate)
            for name, path in settings.voices.items()
        }
        self._device, self._max_seq_len = device, maker.max_seq_len
        self._speaker = Speaker(maker, self._words.end_of_speech, settings.prefill_tokens)

    def warm_up(self) -> None:
        """Find the model's own voice, speak one word with it, and encode a second of silence."""
        self._find_own_voice()
        for _ in self.synthesize(SpeechRequest("Hello.", seed=0), threading.Event()):
            pass
        rate = self._codec.sample_rate
        self.encode_voice(Pcm(bytes(2 * rate), rate), "")

    def voices(self) -> VoiceCatalog:
        """The model's own voice and the configured ones; the model speaks many languages."""
        rate = self._codec.sample_rate
        infos = tuple(VoiceInfo(name, rate, "mul") for name in self._voices)
        return VoiceCatalog(self._settings.default_voice, infos, self._codec.encoder)

    def encode_voice(self, audio: Pcm, text: str) -> VoiceReference:
        """As `VoiceBooth.encode`."""
        return self._booth.encode(audio, text)

    def synthesize(self, request: SpeechRequest, stop: threading.Event) -> Iterator[Pcm]:
        """Speak sentence by sentence; every sentence is heard while it is made."""
        references = request.references
        if not references:
            name = request.voice or self._settings.default_voice
            if name not in self._voices:
                raise VoiceNotFound(name)
            references = self._voices[name]
        return self._speak(request, self._booth.spoken(references), stop)

    def check_health(self) -> None:
        """Raises StageFailed where the model can speak no more."""
        self._speaker.check_health()

    def close(self) -> None:
        """End the thread of the model."""
        self._speaker.close()

    def _find_own_voice(self) -> None:
        """Make `default` one and the same speaker, for every text and at every start."""
        frames_s = self._codec.sample_rate / self._codec.frame_samples
        longest = int(self._settings.max_reference_s * frames_s)
        most = min(self._longest(OWN_WORDS), longest, self._max_seq_len // _OWN_SHARE)
        codes = own_codes(self._speaker, self._words, self._device, most)
        if codes is None:
            logger.warning("the model's own voice is another one with every text")
        else:
            self._voices[OWN_VOICE] = (self._booth.reference(OWN_WORDS, codes),)

    def _speak(
        self, request: SpeechRequest, spoken: list[tuple[str, Tensor]], stop: threading.Event
    ) -> Iterator[Pcm]:
        rate = self._codec.sample_rate
        loudness = Loudness(rate) if request.normalize else None
        pace = Pace(request.speed, rate) if request.speed != 1.0 else None
        for samples in self._sounds(request, spoken, stop):
            heard = samples if loudness is None else loudness.level(samples)
            yield from pieces(heard if pace is None else pace.change(heard), rate)
        if pace is not None and not stop.is_set():
            yield from pieces(pace.rest(), rate)

    def _sounds(
        self, request: SpeechRequest, spoken: list[tuple[str, Tensor]], stop: threading.Event
    ) -> Iterator[np.ndarray]:
        """Blocks of sound, float32, of `first_frames` frames each.

        Without a reference the voice is another one with every prompt: what was spoken first is the
        reference for the rest of the text, where there is room for it.
        """
        generator, choice = self._generator(request), self._choice(request)
        frame_s = self._codec.frame_samples / self._codec.sample_rate
        windows = Windows(self._settings.first_frames, self._largest_window(request), frame_s)
        max_chars = min(request.chunk_chars or _MAX_SENTENCE_CHARS, _MAX_SENTENCE_CHARS)
        own: list[tuple[str, Tensor]] = []
        for sentence in split_sentences(request.text, max_chars, early=request.early):
            if stop.is_set():
                return
            longest = self._longest(sentence)
            prompt = self._words.prompt(sentence, spoken or own)
            if own and prompt.shape[1] + longest > self._max_seq_len:
                prompt = self._words.prompt(sentence)
            longest = min(longest, self._room(prompt))
            sequence = Sequence(prompt, longest, choice, generator, stop)
            frames: list[list[int]] = []
            try:
                self._speaker.speak(sequence)
                yield from self._blocks(sequence, windows, frames)
            finally:
                sequence.leave()
            if len(frames) >= longest:
                logger.warning(
                    "a sentence was cut off", extra={"chars": len(sentence), "frames": len(frames)}
                )
            if not spoken and not own and frames:
                own = [(sentence, torch.tensor(frames).T)]

    def _blocks(
        self, sequence: Sequence, windows: Windows, frames: list[list[int]]
    ) -> Iterator[np.ndarray]:
        """Decode window by window; `frames` takes all codes."""
        stream, codes = SoundStream(self._codec), iter(sequence)
        block = self._settings.first_frames * self._codec.frame_samples
        while window := list(islice(codes, windows.size(time.perf_counter()))):
            if sequence.over:
                return
            frames += window
            sound = stream.decode(torch.tensor(window).T)
            windows.sent(len(window), time.perf_counter())
            for start in range(0, len(sound), block):
                yield sound[start : start + block]

    def _longest(self, sentence: str) -> int:
        """How many frames a sentence may have: a voice that finds no end is cut off."""
        settings = self._settings
        limit_s = _SHORTEST_LIMIT_S + settings.max_s_per_char * spoken_bytes(sentence)
        frames = limit_s * self._codec.sample_rate / self._codec.frame_samples
        return min(settings.max_new_tokens, self._codec.longest_frames, int(frames))

    def _room(self, prompt: Tensor) -> int:
        room = self._max_seq_len - prompt.shape[1]
        if room < _LEAST_FRAMES:
            raise ContextOverflow(prompt.shape[1] + _LEAST_FRAMES, self._max_seq_len, "input")
        return room

    def _choice(self, request: SpeechRequest) -> Choice:
        settings = self._settings
        return Choice(
            settings.temperature if request.temperature is None else request.temperature,
            settings.top_p if request.top_p is None else request.top_p,
            settings.repetition_penalty,
        )

    def _largest_window(self, request: SpeechRequest) -> int:
        """Sound that must come out the same is decoded in the same windows, whatever the time.

        Other windows would change the last bit of some samples.
        """
        repeatable = request.seed is not None or request.temperature == 0
        return self._settings.first_frames if repeatable else self._settings.window_frames

    def _generator(self, request: SpeechRequest) -> torch.Generator:
        generator = torch.Generator(self._device)
        if request.seed is not None:
            generator.manual_seed(request.seed % (1 << 63))
        elif request.temperature == 0:
            generator.manual_seed(0)  # decides between tokens that are equally likely
        else:
            generator.seed()
        return generator


def _model(
    checkpoint: Checkpoint, settings: OpenAudioSettings, device: torch.device
) -> tuple[Words, FrameMaker]:
    config = checkpoint.config()
    words = Words(checkpoint, config)
    with torch.device("meta"):
        model = DualAr(config)
    checkpoint.fill(model, "model.pth", _own_weights(checkpoint.weights("model.pth")))
    dtype: torch.dtype = getattr(torch, settings.dtype)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(requires_grad=False)
    max_seq_len = min(settings.max_seq_len, config.max_seq_len)
    maker = FrameMaker(
        model, Slots(settings.workers, max_seq_len, config, device, dtype), words.semantic
    )
    if settings.compile and device.type == "cuda":
        maker.record()
    return words, maker


def _own_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As fish-speech names them: it writes "model." in front, and leaves parts of other models in."""
    if any(name.startswith("model.") for name in weights):
        weights = {
            name.removeprefix("model."): each
            for name, each in weights.items()
            if name.startswith("model.")
        }
    return {name: each for name, each in weights.items() if not name.startswith("audio_")}


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InvalidSetting(
            "tts.device", f"'{name}' is not here: PyTorch sees {count} CUDA devices"
        )
    return device
