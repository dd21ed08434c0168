"""The models that are served."""

from typing import Annotated

from fastapi import APIRouter, Path

from serve_app.model_catalog import ServedModel
from serve_app.protocol.models import ModelOut, ModelsOut
from serve_app.services import ServicesDep

router = APIRouter(tags=["models"])


@router.get("/v1/models", response_model=ModelsOut)
async def list_models(services: ServicesDep) -> ModelsOut:
    """All models, as OpenAI lists them and as GemmaVoice does."""
    models = [_model_out(model) for model in services.models.models]
    return ModelsOut(data=models, models=models)


@router.get("/v1/models/{model_id:path}", response_model=ModelOut)
async def read_model(
    services: ServicesDep,
    model_id: Annotated[
        str,
        Path(max_length=256, description="May hold a '/'.", examples=["tiny.en"]),
    ],
) -> ModelOut:
    """One model by its id; other names for it are not ids."""
    return _model_out(services.models.find(model_id))


def _model_out(model: ServedModel) -> ModelOut:
    return ModelOut(
        id=model.id, created=model.created, name=model.name, description=model.description
    )
