"""API keys: only hashes are kept, and every comparison takes the same time."""

import hashlib
import hmac

from fastapi import Depends, Request

from configs.settings import AccessSettings
from deployments.errors import InvalidApiKey, MissingApiKey
from serve_app.services import ServicesDep


def _check_api_key(request: Request, services: ServicesDep) -> None:
    access = services.settings.access
    if access.enabled:
        check_key(_sent_key(request, access), access)


def check_key(key: str | None, access: AccessSettings) -> None:
    """Refuse a key that is not one of the configured ones.

    Raises:
        MissingApiKey: there is none.
        InvalidApiKey: it is not known.
    """
    if not key:
        raise MissingApiKey
    digest = hashlib.sha256(key.encode()).hexdigest()
    known = [hmac.compare_digest(digest, each.lower()) for each in access.keys_sha256]
    if not any(known):
        raise InvalidApiKey


def _sent_key(request: Request, access: AccessSettings) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    return request.headers.get(access.header) or bearer


ApiKey = Depends(_check_api_key)
