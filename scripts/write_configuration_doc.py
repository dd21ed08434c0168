"""Writes docs/configuration.md from the settings themselves; a test holds the two together."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.environment import VARIABLES
from configs.settings import AppSettings

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"

HEAD = """# Configuration

Written by `scripts/write_configuration_doc.py` from `configs/settings.py` and
`configs/environment.py`; change those.

Behaviour stands under `args:` in a Serve YAML, scaling under `deployments:` beside it. Environment
variables override the YAML. A key or a variable that does not exist, a value that cannot be, weights
or a device that are not there: each stops the start, and the message names the key.

```bash
make serve                                      # serve_config.yaml
make serve CONFIG=configs/gpu.yaml              # another target
FASTER_WHISPER_MODEL_SIZE=embedded/base make serve
```

A model is `embedded/NAME` (inside an installed package), a path, or a name on the Hugging Face hub
that is fetched on the first start (`HF_HOME` is where to, `HF_TOKEN` for gated ones).
"""


def write() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_environment(), *_settings()]) + "\n"


def _environment() -> Iterator[str]:
    yield "## Environment variables\n"
    yield "GemmaVoice's names. Those with a setting override it.\n"
    yield "| variable | meaning | setting | default |\n|---|---|---|---|"
    for variable in VARIABLES:
        if variable.instead is None:
            key = ".".join(variable.path)
            engine = f" (engine `{variable.engine}`)" if variable.engine else ""
            default = _shown(_default_of(variable.path, variable.engine))
            yield f"| `{variable.name}` | {variable.meaning} | `{key}`{engine} | {default} |"
    yield "\nThese have no meaning here; setting one gives a warning that says what to use instead.\n"
    yield "| variable | GemmaVoice's use | instead |\n|---|---|---|"
    for variable in VARIABLES:
        if variable.instead is not None:
            yield f"| `{variable.name}` | {variable.meaning} | {variable.instead} |"


def _settings() -> Iterator[str]:
    yield "\n## Settings (`args:`)\n"
    plain: list[str] = []
    for name, field in AppSettings.model_fields.items():
        models = list(_models(field.annotation))
        for model in models:
            title = f"### `{name}`" + (f", engine `{_engine(model)}`" if len(models) > 1 else "")
            yield f"{title}\n\n{(model.__doc__ or '').strip()}\n"
            yield "| key | default | meaning |\n|---|---|---|"
            for key, inner in model.model_fields.items():
                yield _row(f"{name}.{key}", inner)
            yield ""
        if not models:
            plain.append(_row(name, field))
    yield "### The rest\n\n| key | default | meaning |\n|---|---|---|"
    yield from plain


def _row(key: str, field: FieldInfo) -> str:
    bounds = [text for text in (_bound(part) for part in field.metadata) if text]
    meaning = " ".join([field.description or "", f"({', '.join(bounds)})" if bounds else ""])
    return f"| `{key}` | {_shown(field.get_default())} | {meaning.strip()} |"


def _bound(part: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(part, name)}" for name, sign in signs.items() if hasattr(part, name)]
    return found[0] if found else ""


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    text = f"{value}" if not isinstance(value, bool) else str(value).lower()
    return f"`{text}`" if len(text) < 60 else "see `configs/settings.py`"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _models(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _models(part)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def _engine(model: type[BaseModel]) -> str:
    return str(model.model_fields["engine"].default)


def _default_of(path: tuple[str, ...], engine: str | None) -> Any:
    field = AppSettings.model_fields[path[0]]
    for model in _models(field.annotation):
        if engine is None or _engine(model) == engine:
            return model.model_fields[path[1]].get_default()
    return field.get_default()


if __name__ == "__main__":
    TARGET.write_text(write(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET.name}\n")
