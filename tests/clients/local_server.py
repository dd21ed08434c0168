"""The API over fake engines on a port of this machine: no Ray, up in a moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from configs.settings import AppSettings
from tests.serve.cluster import eventually, free_port
from tests.unit.fake_services import serving


@contextmanager
def local_server(settings: AppSettings | None = None) -> Iterator[str]:
    """The base address of the API, served by a thread."""
    with serving(settings) as served:
        port = free_port()
        config = uvicorn.Config(
            served.api, host="127.0.0.1", port=port, log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            eventually(lambda: server.started, 10, "uvicorn listens")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
