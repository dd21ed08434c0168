"""Locust's users: one spoken turn over HTTP, or a live conversation with interruptions.

`make loadtest` lets them arrive at a constant rate. To try them by hand, as people who come again:

    .venv/bin/locust -f loadtests/locustfile.py --headless -u 4 -r 1 -t 60s -H http://127.0.0.1:8000
"""

import base64
import json
import random
import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, cast

from locust import HttpUser, User, task
from locust.exception import StopUser
from requests.exceptions import RequestException  # noqa: TID251 - Locust's client

from loadtests.conversation import Conversation, Utterance
from loadtests.line import hold
from loadtests.playout import Playout
from loadtests.speech import RATE, files, utterances
from loadtests.visits import Kind, Outcome, Visit

_FORM = {
    "stream_audio": "true",
    "synthesis_config": json.dumps({"format": "pcm", "sample_rate": RATE}),
}
_TIMEOUT_S = (10.0, 60.0)  # to connect, and for each piece
_LONGEST_S = 180.0
_PHASES = {
    "transcript": "transcript",
    "assistant_text_delta": "first_token",
    "audio_chunk": "first_audio",
}
_RECORDINGS = [path.read_bytes() for path in files()]
_UTTERANCES = utterances()


class Visitor(User):
    """Somebody who comes once, where an arrival was set, or else again and again."""

    abstract = True
    arrival: tuple[Visit, float] | None = None  # what to note, and when it was due
    headers: Mapping[str, str] = MappingProxyType({})
    kind: Kind

    @task
    def come(self) -> None:
        """One visit."""
        visit, due_at = self.arrival or (Visit(self.kind), time.perf_counter())
        visit.late_s = time.perf_counter() - due_at
        self.speak(visit, due_at)
        tell(self, visit)

    def wait_time(self) -> float:
        """Seconds until the next visit."""
        if self.arrival is not None:
            raise StopUser
        return random.uniform(1.0, 3.0)

    def speak(self, visit: Visit, due_at: float) -> None:
        """What the visit is for; `due_at`: `perf_counter` of the arrival."""
        raise NotImplementedError


class SpokenTurns(Visitor, HttpUser):
    """A person who says one thing and hears the answer."""

    kind = Kind.ONE_SHOT

    def speak(self, visit: Visit, due_at: float) -> None:
        """One turn."""
        try:
            with self.client.post(
                "/v1/dialogue",
                files={"file": random.choice(_RECORDINGS)},
                data=_FORM,
                headers=dict(self.headers),
                stream=True,
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                catch_response=True,
            ) as response:
                response.success()  # what it is, the visit says
                if response.status_code == 200:
                    lines = response.iter_lines(None)  # pyright: ignore[reportArgumentType]
                    hear(cast("Iterable[bytes]", lines), visit, due_at)
                elif response.status_code == 0:
                    visit.fail("no connection")
                else:
                    after_s = time.perf_counter() - due_at
                    wait = response.headers.get("Retry-After")
                    visit.turn_away(response.status_code, retry_after=wait, after_s=after_s)
        except RequestException as error:
            visit.fail(type(error).__name__)


class Conversations(Visitor):
    """A person who talks, listens, interrupts, and hangs up."""

    kind = Kind.CONVERSATION
    turns = 2
    interrupting_share = 0.5  # of the turns after the first

    def speak(self, visit: Visit, due_at: float) -> None:
        """One conversation."""
        said = [
            Utterance(random.choice(_UTTERANCES), random.random() < self.interrupting_share)
            for _ in range(self.turns)
        ]
        hold(self.host or "", dict(self.headers), Conversation(said, visit), due_at)
        if visit.outcome is Outcome.COMPLETED:
            visit.note("total", time.perf_counter() - due_at)


def hear(lines: Iterable[bytes], visit: Visit, due_at: float) -> None:
    """Follow the events of a streamed turn to its end."""
    playout = Playout()
    for line in lines:
        at = time.perf_counter()
        event: dict[str, Any] = json.loads(line)
        kind, data = event["event"], event["data"]
        phase = _PHASES.get(kind)
        if phase is not None and phase not in visit.phases:
            visit.note(phase, at - due_at)
        if kind == "audio_chunk":
            playout.add(at, len(base64.b64decode(data["audio_base64"])) / 2 / RATE)
        elif kind == "error" or at - due_at > _LONGEST_S:
            visit.fail(f"error {data.get('code')}" if kind == "error" else "endless reply")
            return
        elif kind == "done":
            visit.replies, visit.gaps_s = 1, playout.gaps_s
            visit.note("total", at - due_at)
            if playout.began_at is None:
                visit.fail("silent reply")
            else:
                visit.complete()
            return
    visit.fail("broken off")


def tell(user: User, visit: Visit) -> None:
    """Put a visit into Locust's own statistics."""
    for phase, times in visit.phases.items():
        for seconds in times:
            _fire(user, visit.kind, phase, seconds, None)
    failed = None if visit.outcome is Outcome.COMPLETED else RuntimeError(visit.problem)
    _fire(user, visit.kind, "visit", 0.0, failed)


def _fire(user: User, kind: Kind, name: str, seconds: float, error: Exception | None) -> None:
    user.environment.events.request.fire(
        request_type=kind.value,
        name=name,
        response_time=1000 * seconds,
        response_length=0,
        exception=error,
        context={},
    )
