"""Callers who come at a constant rate, whatever becomes of those before them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.serve.calls import KEYS, noise_wav, upload

PATIENCE_S = 60.0
_OK, _REFUSED = 200, (429, 503)
_CODES = {"stage_overloaded", "rate_limit_exceeded"}
_WAV = noise_wav(0.5)

WRITTEN: Mapping[str, Any] = {"url": "/v1/generate", "json": {"prompt": "Say it."}}
HEARD: Mapping[str, Any] = {"url": "/v1/speech-to-text", "files": upload(_WAV)}
TURN: Mapping[str, Any] = {"url": "/v1/dialogue", "files": upload(_WAV)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller was told: a status (0: nothing at all), when, and what is wrong with it."""

    status: int
    ended_s: float  # after the first one came
    took_s: float
    fault: str = ""


@dataclass
class Flow:
    """One kind of callers."""

    request: Mapping[str, Any]
    per_s: float
    key: str = ""
    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list[Answer])

    @property
    def served(self) -> int:
        """Those who were answered."""
        return sum(answer.status == _OK for answer in self.answers)

    @property
    def goodput_per_s(self) -> float:
        """How many were answered in a second, while they came."""
        in_time = sum(
            answer.status == _OK and answer.ended_s <= self.seconds for answer in self.answers
        )
        return in_time / self.seconds

    @property
    def statuses(self) -> Counter[int]:
        """Statuses and how often."""
        return Counter(answer.status for answer in self.answers)

    @property
    def faults(self) -> list[str]:
        """What no caller must be told, or not in this way."""
        return [answer.fault for answer in self.answers if answer.fault]

    def took_s(self, share: float, *, refused: bool = False) -> float:
        """A quantile of the time to an answer, or to a refusal."""
        wanted = _REFUSED if refused else (_OK,)
        times = sorted(each.took_s for each in self.answers if each.status in wanted)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def come(
    base_url: str, seconds: float, *flows: Flow, meanwhile: Sequence[Callable[[], Any]] = ()
) -> None:
    """Let them come for so long, and wait for the last answer; `meanwhile` runs in threads."""
    asyncio.run(_come(base_url, seconds, flows, meanwhile))


async def _come(
    base_url: str, seconds: float, flows: Sequence[Flow], meanwhile: Sequence[Callable[[], Any]]
) -> None:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
    async with (
        httpx2.AsyncClient(
            base_url=base_url, timeout=PATIENCE_S, trust_env=False, limits=limits
        ) as client,
        asyncio.TaskGroup() as group,
    ):
        for flow in flows:
            group.create_task(_arrive(client, flow, seconds))
        for each in meanwhile:
            group.create_task(asyncio.to_thread(each))


async def _arrive(client: httpx2.AsyncClient, flow: Flow, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    began, flow.seconds = clock(), seconds
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * flow.per_s)):
            await asyncio.sleep(began + number / flow.per_s - clock())
            group.create_task(_ask(client, flow, began))


async def _ask(client: httpx2.AsyncClient, flow: Flow, first_s: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    headers = {"x-api-key": flow.key} if flow.key else {}
    status, fault = 0, ""
    try:
        response = await client.post(**flow.request, headers=headers)
        status, fault = response.status_code, _fault(response)
    except httpx2.HTTPError as error:
        fault = repr(error)
    flow.answers.append(Answer(status, clock() - first_s, clock() - began, fault))


def _fault(response: httpx2.Response) -> str:
    if response.status_code == _OK:
        warning = response.json().get("warning") if "json" in _type(response) else None
        return str(warning or "")
    told = f"{response.status_code} {response.text[:200]}"
    if response.status_code not in _REFUSED or "json" not in _type(response):
        return told
    error = response.json().get("error", {})
    again = response.headers.get("retry-after", "")
    is_right = set(error) == KEYS and error["code"] in _CODES
    return "" if is_right and again.isdecimal() and int(again) >= 1 else f"{told} {again!r}"


def _type(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "")
