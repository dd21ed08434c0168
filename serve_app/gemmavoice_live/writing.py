"""`/v1/generate_ws`: prompts in, tokens out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import partial

from deployments.messages import GenerationRequest, TextDelta
from serve_app.caller import Caller
from serve_app.gemmavoice_live.manners import generation_manners, read_object
from serve_app.problems import problem_of
from serve_app.protocol.gemmavoice_sockets import GENERATE
from serve_app.services import Services
from serve_app.socket import Socket
from serve_app.socket_messages import read_form
from serve_app.socket_talk import Jobs
from serve_app.written_request import written_request

MANNERS = generation_manners()


class Writing:
    """Answers one prompt after the other."""

    def __init__(self, services: Services, caller: Caller, socket: Socket, jobs: Jobs) -> None:
        self._services, self._caller = services, caller
        self._socket, self._jobs = socket, jobs

    def take(self, message: str | bytes) -> None:
        """A prompt."""
        body = read_form(GENERATE, read_object(message))
        request = written_request(body, self._services, self._caller)
        self._jobs.add(partial(self._write, request))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on."""
        return self._jobs.is_idle

    async def settled(self) -> None:
        """Return when everything is answered."""
        await self._jobs.settled()

    async def _write(self, request: GenerationRequest) -> None:
        async with aclosing(self._services.llm.generate(request)) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    self._socket.send({"token": event.text})
                    await self._socket.room()
        self._socket.send({"status": "done"})


@asynccontextmanager
async def writing(
    services: Services, caller: Caller, socket: Socket
) -> AsyncGenerator[Writing, None]:
    """Answer while the socket is open."""

    def failed(error: Exception) -> None:
        socket.send(MANNERS.error(problem_of(error)))

    async with Jobs(failed) as jobs:
        yield Writing(services, caller, socket, jobs)
