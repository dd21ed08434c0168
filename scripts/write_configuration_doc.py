"""Writes docs/configuration.md from the settings themselves; a test holds the two together."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

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

ACCESS = """
## API keys

With `API_KEY_ENABLED=true` every route below `/v1/` needs a key, in the header `X-API-Key` or as
`Authorization: Bearer KEY`; `/health`, `/metrics`, `/docs`, `/v1/livekit/status` and, with
`access.public_lists`, the lists of models and voices do not. Keys are kept as SHA-256 hashes only.
`python -m serve_app` takes them, and the LiveKit secret, out of the environment before Ray starts;
where a cluster is started by other means, use a file.

`API_KEYS` holds the keys themselves; `API_KEYS_FILE=/path` (or `API_KEYS=@/path`) names a file with
one key a line (`#` begins a comment), or YAML, when it ends in `.yaml` or begins with `keys:`:

```yaml
keys:
  - name: kitchen            # whose sessions and limits these are; else the hash's first 8 digits
    key: sk-...              # the key itself, or
    # sha256: 64 digits      # printf %s "$KEY" | sha256sum
    expires: 2030-12-31      # the last day on which it works, UTC
    limits:                  # over those of `access.rate`, one by one; null is no limit
      {requests: 600, audio_seconds: 3600, concurrent: 4, window_seconds: 60, burst_multiplier: 2}
```

The file must be on every machine that runs a `dialogue` replica. A replica looks at it at most once a
second and reads it again when it has changed: keys come, go and change without a restart. A file
that is broken, gone or empty leaves the keys as they were, and an error in the log. Replace a file
in one step (`mv`).

## Rate limits

`RATE_LIMIT_ENABLED=true` gives every caller the limits of `access.rate`: so many requests and seconds
of audio (heard and spoken) in a window, and so many requests in progress. A caller is a key, or,
where no key is asked for, the address of the connection: behind a reverse proxy that is the
proxy's. Unused shares add up to `burst_multiplier` windows. Audio that was made is charged
afterwards: that may be more than was left, and is made up for before the next request. A refused
request gets 429 with `Retry-After` and is not counted; every answer to a limited caller has
`x-ratelimit-*` headers.

The counters are in the one replica of `state`: limits hold over all replicas of `dialogue`, and
begin anew when it restarts. While it is away each replica counts alone
(`app_rate_limit_alone_total`).
"""


def write() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_environment(), ACCESS.rstrip(), *_settings()]) + "\n"


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
            yield from _rows(name, model)
            yield ""
        if not models:
            plain.append(_row(name, field))
    yield "### The rest\n\n| key | default | meaning |\n|---|---|---|"
    yield from plain


def _rows(place: str, model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        for each in inner:
            yield from _rows(f"{place}.{name}", each)
        if not inner:
            yield _row(f"{place}.{name}", field)


def _row(key: str, field: FieldInfo) -> str:
    bounds = [text for text in (_bound(part) for part in field.metadata) if text]
    meaning = " ".join([field.description or "", f"({', '.join(bounds)})" if bounds else ""])
    return f"| `{key}` | {_shown(field.get_default())} | {meaning.strip()} |"


def _bound(part: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{sign} {getattr(part, name)}" for name, sign in signs.items() if hasattr(part, name)]
    return found[0] if found else ""


def _shown(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
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
    value: Any = AppSettings()
    if engine is not None:
        models = _models(AppSettings.model_fields[path[0]].annotation)
        value, path = next(m() for m in models if _engine(m) == engine), path[1:]
    for name in path:
        value = getattr(value, name)
    return value


if __name__ == "__main__":
    TARGET.write_text(write(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET.name}\n")
