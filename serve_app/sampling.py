"""A request's sampling over the configuration's."""

from dataclasses import fields

from configs.settings import SamplingSettings
from deployments.messages import Sampling
from serve_app.protocol.gemmavoice import SamplingFields

_NAMES = tuple(field.name for field in fields(Sampling))


def sampling_of(asked: SamplingFields, settings: SamplingSettings) -> Sampling:
    """What the request says; where it says nothing, what the settings say."""
    chosen = settings.model_dump() | asked.model_dump(exclude_none=True)
    chosen["stop"] = tuple(chosen.get("stop", ()))
    return Sampling(**{name: chosen[name] for name in _NAMES if name in chosen})
