"""The lists of models on the wire: OpenAI's and GemmaVoice's in one answer."""

from typing import Final, Literal

from pydantic import JsonValue

from serve_app.protocol.wire import Wire, example

_MODEL: Final[dict[str, JsonValue]] = {
    "id": "tiny.en",
    "object": "model",
    "created": 1_790_000_000,
    "owned_by": "gemmavoice",
    "name": "Speech to text",
    "description": "Hears speech.",
}


class ModelOut(Wire):
    """One model; `created` (Unix seconds) is when this server began to serve it."""

    model_config = example(**_MODEL)

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "gemmavoice"
    name: str
    description: str


class ModelsOut(Wire):
    """All models: `data` as OpenAI has it, `models` as GemmaVoice has it."""

    model_config = example(object="list", data=[_MODEL], models=[_MODEL])

    object: Literal["list"] = "list"
    data: list[ModelOut]
    models: list[ModelOut]
