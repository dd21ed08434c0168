"""Voice references over HTTP."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.errors import RateLimited
from tests.unit.counted_caller import counting
from tests.unit.fake_services import Served, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import example, wav_bytes


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def encode(served: Served, data: bytes) -> Any:
    return served.client.post("/v1/encode-reference", files={"file": data})


@pytest.mark.parametrize("data", [wav_bytes(8_000, 0.3), wav_bytes(48_000, 10.0), example("mp3")])
def test_a_recording_comes_back_as_it_is_in_base64(served: Served, data: bytes) -> None:
    response = encode(served, data)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"reference_base64": base64.b64encode(data).decode()}


@pytest.mark.parametrize("data", [b"not audio at all", wav_bytes(8_000, 0.3)[:44]])
def test_what_is_no_audio_is_refused(served: Served, data: bytes) -> None:
    status, code, param = problem(encode(served, data))
    assert (status, param) == (400, "file")
    assert code in ("invalid_audio", "unsupported_format")


def test_what_is_longer_than_any_sample_is_refused(served: Served) -> None:
    assert problem(encode(served, wav_bytes(8_000, 10.8))) == (400, "recording_too_long", "file")


def test_a_request_without_a_file_is_refused(served: Served) -> None:
    response = served.client.post("/v1/encode-reference", data={"name": "Ada"})
    assert problem(response) == (400, "missing_parameter", "file")


def test_the_recording_is_counted(served: Served) -> None:
    with counting(served) as caller:
        encode(served, wav_bytes(16_000, 1.5))
    assert caller.heard_s == [1.5]


def test_a_caller_without_a_share_left_is_refused(served: Served) -> None:
    with counting(served, RateLimited("audio", 7.2)):
        response = encode(served, wav_bytes())
    assert problem(response) == (429, "rate_limit_exceeded", None)
    assert response.headers["retry-after"] == "8"
