"""Errors of the configuration, told by the key that is wrong."""

from pydantic import ValidationError

_SECRET = {"keys_sha256", "api_key", "api_secret", "remote_keys", "redis_url"}


class SettingsError(ValueError):
    """A setting is wrong; `key` is its dotted name in YAML, or its name in the environment."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}"


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Dotted key and reason of the first error, without pydantic's frame around it."""
    problem = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in problem["loc"]]
    # Behind 'stt', 'llm' and 'tts' pydantic names the engine that was chosen: not part of the key.
    if len(place) > 1 and place[0] in ("stt", "llm", "tts"):
        del place[1]
        if place[1] == "order" and len(place) > 3:
            del place[3]
    key = ".".join(place) or "args"
    reason = problem["msg"]
    if problem["type"] == "extra_forbidden":
        reason = "there is no such setting"
    elif not _SECRET.intersection(place) and isinstance(problem["input"], str | int | float | bool):
        reason = f"{reason} (it is {problem['input']!r})"
    return key, reason
