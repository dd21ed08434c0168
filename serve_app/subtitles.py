"""Transcripts as subtitle files."""

from deployments.messages import Transcript


def to_srt(transcript: Transcript) -> str:
    """SubRip."""
    blocks = [
        f"{number}\n{_time(s.start_s, ',')} --> {_time(s.end_s, ',')}\n{s.text.strip()}\n"
        for number, s in enumerate(transcript.segments, 1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: Transcript) -> str:
    """WebVTT."""
    blocks = [
        f"{_time(s.start_s, '.')} --> {_time(s.end_s, '.')}\n{s.text.strip()}\n"
        for s in transcript.segments
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _time(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{decimal_mark}{milliseconds:03}"
