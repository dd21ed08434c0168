"""The keys that open the service: looked up in constant time, read again when their file changes."""

import asyncio
import hmac
import logging
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from configs.settings import AccessSettings
from deployments.errors import InvalidSetting
from serve_app.key_file import ApiKey, digest_of, known_keys

logger = logging.getLogger("ray.serve")

_LOOK_EVERY_S = 1.0
_Version = tuple[int, ...] | None


def _today() -> date:
    return datetime.now(UTC).date()


class KeyRing:
    """Every known key, as a hash.

    Raises:
        InvalidSetting: on construction, when the file of the keys cannot be used.
    """

    def __init__(
        self,
        access: AccessSettings,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = _today,
    ) -> None:
        self._access, self._clock, self._today = access, clock, today
        self._file = Path(access.keys_file) if access.keys_file else None
        self._looked_at = clock()
        self._version = self._seen()
        self._keys = known_keys(access)

    def find(self, key: bytes) -> ApiKey | None:
        """The key, if it is known and not expired; every hash is compared in any case."""
        digest = digest_of(key)
        matches = [hmac.compare_digest(digest, known.digest) for known in self._keys]
        today = self._today()
        for known, is_it in zip(self._keys, matches, strict=True):
            if is_it and (known.last_day is None or today <= known.last_day):
                return known
        return None

    async def refresh(self) -> None:
        """Look at the file, at most once a second; one that is broken leaves the keys as they are."""
        now = self._clock()
        if self._file is None or now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        await asyncio.to_thread(self._read_if_changed)

    def _read_if_changed(self) -> None:
        version = self._seen()
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = known_keys(self._access)
        except InvalidSetting:
            logger.exception("the API keys stay as they were")
        else:
            logger.info("the API keys were read again", extra={"keys": len(self._keys)})

    def _seen(self) -> _Version:
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
