"""The models that are served, by the names that clients may use."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

from configs.settings import (
    AppSettings,
    FallbackSttSettings,
    FallbackTtsSettings,
    LlmSettings,
    SttSettings,
    TtsSettings,
)
from deployments.errors import ModelNotFound

_NAME_LIMIT = 128
_CREATED = 1_795_478_400  # of this catalog, not of the weights: every replica must say the same


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model; `stage` is 'stt', 'llm' or 'tts', `created` is in Unix seconds."""

    id: str
    stage: str
    name: str
    description: str
    created: int


class ModelCatalog:
    """One model a stage; a name of somebody else's model means the stage's own."""

    def __init__(self, settings: AppSettings) -> None:
        stt, llm, tts = settings.stt, settings.llm, settings.tts
        self._patterns = settings.names.models
        self.models = tuple(
            ServedModel(_id(part, stage), stage, name, description, _CREATED)
            for part, stage, name, description in (
                (llm, "llm", "Language model", "Writes text."),
                (stt, "stt", "Speech to text", "Hears speech."),
                (tts, "tts", "Text to speech", "Speaks text."),
            )
        )

    def of_stage(self, stage: str) -> ServedModel:
        """The model of a stage."""
        return next(model for model in self.models if model.stage == stage)

    def resolve(self, stage: str, name: str | None) -> ServedModel:
        """The stage's model, where `name` means it; none means it too.

        Raises:
            ModelNotFound: the name means no model of this stage.
        """
        model = self.of_stage(stage)
        if name is None or name == model.id or self._is_alias(name):
            return model
        raise ModelNotFound(name)

    def find(self, model_id: str) -> ServedModel:
        """The model with this id, whatever its stage.

        Raises:
            ModelNotFound: there is none.
        """
        for model in self.models:
            if model.id == model_id:
                return model
        raise ModelNotFound(model_id)

    def _is_alias(self, name: str) -> bool:
        return len(name) <= _NAME_LIMIT and any(fnmatchcase(name, each) for each in self._patterns)


def _id(part: SttSettings | LlmSettings | TtsSettings, stage: str) -> str:
    """A name without any path of this machine: 'tiny.en', 'owner/repository', 'fake-llm'.

    Several engines have the first one's name.
    """
    if isinstance(part, FallbackSttSettings | FallbackTtsSettings):
        return _id(part.order[0], stage)
    reference = str(getattr(part, "model", ""))
    if not reference:
        return f"fake-{stage}" if part.engine == "fake" else part.engine
    path = PurePath(reference)
    if path.is_absolute() or reference.startswith((".", "~")) or path.parts[0] == "embedded":
        return path.name.removesuffix(".gguf")
    return reference.removesuffix(".gguf")
