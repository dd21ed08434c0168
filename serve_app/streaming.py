"""Responses that are pushed while the work runs."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serve_app.problems import Problem, problem_of

Push = Callable[[bytes], Awaitable[None]]


class PushResponse(Response):
    """A streamed body whose producer pushes pieces instead of yielding them.

    A producer may hold a `TaskGroup` open around its pushes (a generator may not: PEP 789). The
    headers leave with the first piece, so an error before it still gets its own status; a later one
    is pushed as `on_error` says, or (None) breaks the body off, so that it cannot pass for whole. A client that goes away cancels the producer.
    """

    def __init__(
        self,
        produce: Callable[[Push], Coroutine[None, None, None]],
        on_error: Callable[[Problem], bytes | None],
        media_type: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._produce, self._on_error = produce, on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Run the producer against the connection."""
        body = _Body(self, send)
        try:
            if not await _until_disconnect(self._produce(body.push), receive):
                return
        except Exception as error:
            if not body.started:
                raise
            piece = self._on_error(problem_of(error))
            if piece is None:
                raise
            await body.push(piece)
        await body.finish()


class _Body:
    def __init__(self, response: Response, send: Send) -> None:
        self._response, self._send = response, send
        self._one_at_a_time = asyncio.Lock()
        self.started = False

    async def push(self, piece: bytes) -> None:
        async with self._one_at_a_time:
            await self._start()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def finish(self) -> None:
        async with self._one_at_a_time:
            await self._start()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            headers, status = self._response.raw_headers, self._response.status_code
            await self._send({"type": "http.response.start", "status": status, "headers": headers})


async def _until_disconnect(work: Coroutine[None, None, None], receive: Receive) -> bool:
    """Run `work` while the client is there; False when it went away first."""
    stayed = True

    async def run() -> None:
        try:
            await work
        finally:
            watcher.cancel()

    async def watch() -> None:
        nonlocal stayed
        while (await receive())["type"] != "http.disconnect":
            pass
        stayed = False
        worker.cancel()

    try:
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watch(), name="watch")
            worker = tasks.create_task(run(), name="produce")
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return stayed
