"""What clients write into sockets: JSON of a known form, and bytes in base64."""

import base64
import binascii
from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from deployments.errors import BodyTooLarge, InvalidParameter

Form = TypeVar("Form")


def read_json(text: str) -> object:
    """The value of a JSON text.

    Raises:
        RequestValidationError: it is none.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise RequestValidationError(
            [{"type": "json_invalid", "loc": (), "msg": "Invalid JSON"}]
        ) from None


def read_form(form: TypeAdapter[Form], value: object) -> Form:
    """A value as one of the forms that are known.

    Raises:
        RequestValidationError: it has none of them.
    """
    try:
        return form.validate_python(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(problems, body=value) from None


def read_base64(name: str, text: str, limit_bytes: int) -> bytes:
    """The bytes of the field `name`.

    Raises:
        BodyTooLarge: they are more than the limit.
        InvalidParameter: it is not base64.
    """
    if len(text) * 3 // 4 > limit_bytes + 2:
        raise BodyTooLarge(limit_bytes)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter(name, "it is not base64.") from None
