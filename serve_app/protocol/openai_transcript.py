"""OpenAI's answers to transcriptions and translations."""

import math
from typing import Literal

from pydantic import Field

from deployments.languages import language_name
from deployments.messages import Segment, Transcript
from serve_app.protocol.openai_transcription import TranscriptionFields, TranslationFields
from serve_app.protocol.wire import Wire, example

_AUDIO_TOKENS_PER_S = 50  # positions of Whisper's encoder


class DurationUsage(Wire):
    """Seconds that were heard, rounded up."""

    type: Literal["duration"] = "duration"
    seconds: int

    @classmethod
    def of(cls, transcript: Transcript) -> "DurationUsage":
        """What a transcript took."""
        return cls(seconds=math.ceil(transcript.duration_s))


class TokenDetails(Wire):
    """What the input was made of."""

    audio_tokens: int
    text_tokens: int = 0


class HeardUsage(Wire):
    """Of a stream: input is 50 tokens a second of audio, output Whisper's tokens of the text."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: TokenDetails

    @classmethod
    def of(cls, transcript: Transcript) -> "HeardUsage":
        """What a transcript took."""
        heard = math.ceil(transcript.duration_s * _AUDIO_TOKENS_PER_S)
        written = sum(len(segment.tokens) for segment in transcript.segments)
        return cls(
            input_tokens=heard,
            output_tokens=written,
            total_tokens=heard + written,
            input_token_details=TokenDetails(audio_tokens=heard),
        )


class TextOut(Wire):
    """The text of a recording."""

    model_config = example(
        text="What is the capital of France?", usage={"type": "duration", "seconds": 3}
    )

    text: str
    usage: DurationUsage


class TimedSegment(Wire):
    """One stretch of speech; times in seconds, `seek` in hundredths."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float

    @classmethod
    def of(cls, number: int, segment: Segment) -> "TimedSegment":
        """The wire form of a segment; OpenAI counts them from 0."""
        return cls(
            id=number,
            seek=segment.seek,
            start=round(segment.start_s, 3),
            end=round(segment.end_s, 3),
            text=segment.text,
            tokens=list(segment.tokens),
            temperature=segment.temperature,
            avg_logprob=segment.avg_logprob,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech_prob,
        )


class TimedWord(Wire):
    """One word; times in seconds."""

    word: str
    start: float
    end: float


class VerboseTextOut(Wire):
    """The text of a recording with its times; `segments` and `words` are there if asked for."""

    model_config = example(
        task="transcribe",
        language="english",
        duration=2.1,
        text="What is the capital of France?",
        segments=[
            {
                "id": 0,
                "seek": 0,
                "start": 0.0,
                "end": 2.1,
                "text": " What is the capital of France?",
                "tokens": [50363, 1867, 318, 262, 3139, 286, 4881, 30, 50468],
                "temperature": 0.0,
                "avg_logprob": -0.21,
                "compression_ratio": 0.94,
                "no_speech_prob": 0.01,
            }
        ],
        usage={"type": "duration", "seconds": 3},
    )

    task: Literal["transcribe", "translate"]
    language: str = Field(description="English name of the text's language, such as 'english'.")
    duration: float
    text: str
    segments: list[TimedSegment] | None = None
    words: list[TimedWord] | None = None
    usage: DurationUsage

    @classmethod
    def of(cls, transcript: Transcript, fields: TranslationFields) -> "VerboseTextOut":
        """The wire form of a transcript, with the times that were asked for."""
        translated = not isinstance(fields, TranscriptionFields)
        segments = list(map(TimedSegment.of, range(len(transcript.segments)), transcript.segments))
        words = [
            TimedWord(word=w.text.strip(), start=round(w.start_s, 3), end=round(w.end_s, 3))
            for segment in transcript.segments
            for w in segment.words
        ]
        return cls(
            task="translate" if translated else "transcribe",
            language="english" if translated else language_name(transcript.language),
            duration=round(transcript.duration_s, 3),
            text=transcript.text,
            segments=segments if translated or fields.with_segments else None,
            words=words if not translated and fields.with_words else None,
            usage=DurationUsage.of(transcript),
        )


class TextDeltaEvent(Wire):
    """A piece of the text; all pieces join to the whole."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TextDoneEvent(Wire):
    """The whole text; the last event."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str
    usage: HeardUsage
