"""The request id: taken from the caller where it is well formed, else made."""

import re
import uuid
from typing import Any

HEADER = "x-request-id"
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def accepted_request_id(headers: list[tuple[bytes, bytes]]) -> str:
    """The caller's id, or a new one where it is missing, repeated or malformed."""
    sent = [value for name, value in headers if name.lower() == HEADER.encode()]
    if len(sent) == 1 and _WELL_FORMED.fullmatch(sent[0]):
        return sent[0].decode()
    return uuid.uuid4().hex


def request_id_of(scope: Any) -> str:
    """The id of the request that an ASGI scope belongs to."""
    return str(scope.get("gemmavoice.request_id", ""))
