"""What a live conversation may be told, at its start and while it runs."""

from dataclasses import dataclass, field

from deployments.messages import Sampling, SpeechRequest
from serve_app.hearing.endpointing import Endpointing
from serve_app.protocol.tool_calls import Tool

_DEFAULT_VOICE = SpeechRequest("")


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """When the user has finished, and what then happens.

    `judges`: the sound and the words so far are asked whether the speaker has finished; without it
    silence alone decides. `interrupt_after_ms` of voice stop a reply that is being heard; less than
    that only where it turns out to be words. `idle_ms`: a silence after which the client is told.
    """

    endpointing: Endpointing
    judges: bool = True
    creates_reply: bool = True
    interrupts: bool = True
    interrupt_after_ms: int = 500
    idle_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """How to hear, think and speak. It may change between turns.

    `turn_taking` None: the client says when the user has finished. `voice` None: replies are
    written only. `replies` false: nothing is answered, only heard. `tool_choice` is "auto", "none",
    "required", or a tool's name.
    """

    instructions: str = ""
    prompt_template: str = "{transcript}"
    sampling: Sampling = field(default_factory=Sampling)
    voice: SpeechRequest | None = _DEFAULT_VOICE
    turn_taking: TurnTaking | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    parallel_calls: bool = True
    language: str | None = None
    languages: tuple[str, ...] = ()
    hints: str | None = None  # words that the speech model may expect
    keywords: tuple[str, ...] = ()
    partials: bool = True
    replies: bool = True


@dataclass(frozen=True, slots=True)
class LiveBounds:
    """What a session may hold and spend; from the settings of the server.

    Audio is made at most `ahead_s` before it is sent, and sent at most `lead_s` before it is heard.
    Partial transcripts take at most `partial_share` of one worker's time. `warms`: the model reads
    what a session begins with while the user speaks for the first time.
    """

    max_utterance_s: float = 120.0
    max_items: int = 500
    max_chars: int = 100_000
    lead_s: float = 1.5
    ahead_s: float = 8.0
    frame_s: float = 0.1
    partial_share: float = 0.25
    partial_interval_s: float = 1.0
    finished_probability: float = 0.5
    warms: bool = True
