"""The language model as one caller uses it: every request says whose it is."""

from collections.abc import AsyncGenerator
from dataclasses import replace

from deployments.messages import GenerationEvent, GenerationRequest, Origin
from serve_app.dialogue.ports import LanguageModel


class AskedBy:
    """A `LanguageModel` whose requests have an origin; see `Origin`."""

    def __init__(
        self, llm: LanguageModel, owner: str, session: str = "", *, live: bool = False
    ) -> None:
        self._llm, self._origin = llm, Origin(owner, session, live)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The reply as it is written. Raises `SpeechError`."""
        return self._llm.generate(replace(request, origin=self._origin))
