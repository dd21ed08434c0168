"""API keys as an operator writes them, and what is kept of them: hashes."""

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from configs.settings import AccessSettings, RateSettings
from deployments.errors import InvalidSetting
from deployments.messages import KeyLimits

FILE_SETTING = "API_KEYS_FILE (access.keys_file)"
_MAX_BYTES = 4 * 1024 * 1024
_MAX_KEYS = 10_000
_NAME_DIGITS = 8  # of the hash, where a key has no name
_YAML_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, without itself."""

    name: str
    digest: bytes
    limits: KeyLimits
    last_day: date | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Limits(_Entry):
    """A key's own limits; those that are not given are the default ones, null is no limit."""

    requests: int | None = Field(default=None, ge=1)
    audio_seconds: float | None = Field(default=None, gt=0)
    concurrent: int | None = Field(default=None, ge=1, le=10_000)
    window_seconds: float = Field(default=60.0, gt=0, le=86_400)
    burst_multiplier: float = Field(default=1.0, ge=1, le=100)


class _Key(_Entry):
    """One key; either itself or its hash."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    key: Annotated[SecretStr, Field(min_length=1, max_length=512)] | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    limits: _Limits = _Limits()
    expires: date | None = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "_Key":
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("give either 'key' or 'sha256'")
        if self.key is not None and len(self.key.get_secret_value().split()) != 1:
            raise ValueError("a key is one word")
        return self

    def digest(self) -> bytes:
        if self.key is not None:
            return digest_of(self.key.get_secret_value().encode())
        return bytes.fromhex(self.sha256 or "")


class _Keys(_Entry):
    """The whole file."""

    keys: list[_Key] = Field(min_length=1, max_length=_MAX_KEYS)


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key).digest()


def known_keys(access: AccessSettings) -> tuple[ApiKey, ...]:
    """The keys of the settings and those of the file.

    Raises:
        InvalidSetting: the file cannot be read, or is wrong; it tells where, and shows no key.
    """
    entries = [_Key(sha256=each) for each in dict.fromkeys(map(str.lower, access.keys_sha256))]
    if access.keys_file is not None:
        entries += _read(Path(access.keys_file))
    keys = tuple(_kept(entry, access.rate) for entry in entries)
    names: set[str] = set()
    digests: set[bytes] = set()
    for key in keys:
        if key.name in names or key.digest in digests:
            raise InvalidSetting(FILE_SETTING, f"'{key.name}' is there twice, or its key is")
        names.add(key.name)
        digests.add(key.digest)
    return keys


def default_limits(rate: RateSettings) -> KeyLimits:
    """What every caller may use that has no limits of its own."""
    window_s, burst = rate.window_seconds, rate.burst_multiplier
    if not rate.enabled:
        return KeyLimits(window_s=window_s, burst=burst)
    return KeyLimits(rate.requests, rate.audio_seconds, rate.concurrent, window_s, burst)


def _kept(entry: _Key, rate: RateSettings) -> ApiKey:
    digest = entry.digest()
    default, own = default_limits(rate), entry.limits
    given = own.model_fields_set
    limits = KeyLimits(
        requests=own.requests if "requests" in given else default.requests,
        audio_s=own.audio_seconds if "audio_seconds" in given else default.audio_s,
        concurrent=own.concurrent if "concurrent" in given else default.concurrent,
        window_s=own.window_seconds if "window_seconds" in given else default.window_s,
        burst=own.burst_multiplier if "burst_multiplier" in given else default.burst,
    )
    return ApiKey(entry.name or digest.hex()[:_NAME_DIGITS], digest, limits, entry.expires)


def _read(path: Path) -> list[_Key]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InvalidSetting(FILE_SETTING, f"the file has more than {_MAX_BYTES} bytes")
        text = data.decode()
    except OSError as error:
        raise InvalidSetting(FILE_SETTING, f"'{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSetting(FILE_SETTING, "the file is not UTF-8") from None
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    is_yaml = path.suffix in _YAML_ENDINGS or (lines and lines[0].startswith("keys:"))
    tree = _yaml(text) if is_yaml else {"keys": [{"key": line} for line in lines]}
    try:
        return _Keys.model_validate(tree).keys
    except ValidationError as error:
        raise InvalidSetting(FILE_SETTING, _told(error)) from None


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Its own message would quote the line.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1} is" if mark else "the file is"
        raise InvalidSetting(FILE_SETTING, f"{place} not YAML") from None


def _told(error: ValidationError) -> str:
    """Where the first problem is and what it is, never what stands there."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        return f"{'.'.join(place[:-1]) or 'the file'}: there is a field that no key has"
    return f"{'.'.join(place) or 'the file'}: {problem['msg']}"
