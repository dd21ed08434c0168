"""What a run must keep, from a YAML file."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtests.visits import Kind

Phase = Literal[
    "connected",
    "end_of_turn",
    "transcript",
    "first_token",
    "first_audio",
    "interruption",
    "refused",
    "total",
]
Rank = Literal["p50", "p90", "p95", "p99", "max"]
Seconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Targets(BaseModel):
    """The most that each figure may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phases_s: dict[Kind, dict[Phase, dict[Rank, Seconds]]] = {}
    failed_share: Share = 0.0
    refused_share: Share = 1.0
    refusals_without_retry_after: int = Field(default=0, ge=0)
    underruns_per_reply: float = Field(default=0.0, ge=0)
    missed_interruptions: int = Field(default=0, ge=0)
    not_sent: int = Field(default=0, ge=0)
    generator_late_p99_s: Seconds = 0.1


def load_targets(path: Path) -> Targets:
    """Read the targets.

    Raises:
        ValueError: it is not YAML, or a key or value is wrong; names the first one.
        OSError: the file cannot be read.
    """
    try:
        return Targets.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {place}: {first['msg']}") from None
