"""A speech-to-text engine that knows its answer."""

import re
import threading
from collections.abc import Iterator

from configs.settings import FakeSttSettings
from deployments.audio import Pcm
from deployments.errors import UnsupportedLanguage
from deployments.messages import Segment, Transcript, TranscriptionRequest, Word
from deployments.sentences import split_sentences

_MODEL = "fake"
_LANGUAGES = ("en", "es", "id")
_LONGEST_SEGMENT_CHARS = 240


class FakeSttEngine:
    """Hears `settings.text` in any audio that is not digital silence, after `latency_s`."""

    def __init__(self, settings: FakeSttSettings) -> None:
        self._settings = settings

    def warm_up(self) -> None:
        """Nothing to warm."""

    def transcribe(
        self, request: TranscriptionRequest, stop: threading.Event
    ) -> Iterator[Segment | Transcript]:
        """Give the known text sentence by sentence, its words spread evenly over the audio."""
        language = _language(request)
        sentences = tuple(split_sentences(self._settings.text, _LONGEST_SEGMENT_CHARS))
        heard: list[Segment] = []
        for segment in _segments(sentences, request):
            stop.wait(self._settings.latency_s / len(sentences))
            if stop.is_set() or not _has_sound(request.audio):
                break
            heard.append(segment)
            yield segment
        yield Transcript(
            text="".join(segment.text for segment in heard).strip(),
            language=language,
            language_probability=1.0,
            duration_s=request.audio.duration_s,
            segments=tuple(heard),
        )


def _language(request: TranscriptionRequest) -> str:
    asked = (request.language,) if request.language is not None else request.languages
    for language in asked:
        if language not in _LANGUAGES:
            raise UnsupportedLanguage(language[:32], _MODEL)
    return asked[0] if asked else "en"


def _has_sound(audio: Pcm) -> bool:
    return audio.samples.strip(b"\0") != b""


def _segments(sentences: tuple[str, ...], request: TranscriptionRequest) -> Iterator[Segment]:
    counts = [len(re.findall(r"\S+", sentence)) for sentence in sentences]
    word_s = request.audio.duration_s / max(sum(counts), 1)
    said = 0
    for number, (sentence, count) in enumerate(zip(sentences, counts, strict=True), 1):
        start_s, said = word_s * said, said + count
        yield Segment(
            id=number,
            start_s=start_s,
            end_s=word_s * said,
            text=f" {sentence}",
            avg_logprob=-0.1,
            no_speech_prob=0.0,
            compression_ratio=1.0,
            temperature=request.temperature or 0.0,
            words=_words(sentence, start_s, word_s) if request.word_timestamps else (),
        )


def _words(sentence: str, start_s: float, word_s: float) -> tuple[Word, ...]:
    words = re.findall(r"\S+", sentence)
    return tuple(
        Word(f" {word}", start_s + word_s * i, start_s + word_s * (i + 1), 1.0)
        for i, word in enumerate(words)
    )
