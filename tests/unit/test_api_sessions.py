"""A spoken dialogue that is remembered from call to call, over HTTP."""

import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from configs.settings import AccessSettings, PromptSettings, SessionSettings
from deployments.errors import (
    MemoryUnavailable,
    SpeechError,
    StageFailed,
    StageTimeout,
    StageUnavailable,
)
from deployments.messages import ChatMessage
from tests.unit.fake_services import HEARD, REPLY, Served, quick_settings, serving
from tests.unit.http_answers import ndjson_events, problem
from tests.unit.media_files import wav_bytes

SPEECH = wav_bytes(16_000, 1.0)
SILENCE = SPEECH[:44] + bytes(len(SPEECH) - 44)
PAIR = ChatMessage("user", HEARD), ChatMessage("assistant", REPLY)
BAD_IDS = ["a b", "../x", "a/b", "ä", "a\n", "x" * 65, "a.b", "a\0"]


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


def talk(served: Served, session_id: str = "7", data: bytes = SPEECH, **form: str) -> Any:
    response = served.client.post(
        "/v1/dialogue", files={"file": ("a.wav", data)}, data={"session_id": session_id, **form}
    )
    assert response.status_code == 200, response.text
    return response.json()


def stream(served: Served, session_id: str = "7", **form: str) -> list[tuple[str, Any]]:
    response = served.client.post(
        "/v1/dialogue",
        files={"file": ("a.wav", SPEECH)},
        data={"session_id": session_id, "stream_audio": "true", **form},
    )
    return ndjson_events(response.text)


def remembered(served: Served, session_id: str = "7", **headers: str) -> list[tuple[str, str]]:
    body = served.client.get(f"/v1/sessions/{session_id}", headers=headers).json()
    return [(message["role"], message["content"]) for message in body.get("messages", [])]


def test_a_turn_knows_of_the_turns_before_it(served: Served) -> None:
    for _ in range(3):
        talk(served, instructions="Be brief.")
    system, user = ChatMessage("system", "Be brief."), PAIR[0]
    assert [request.messages for request in served.llm.requests] == [
        (system, user),
        (system, *PAIR, user),
        (system, *PAIR, *PAIR, user),
    ]


@pytest.mark.parametrize("path", ["/v1/dialogue", "/v1/conversation/dialogue"])
def test_both_paths_remember_the_same(served: Served, path: str) -> None:
    talk(served)
    served.client.post(path, files={"file": ("a.wav", SPEECH)}, data={"session_id": "7"})
    assert len(served.llm.requests[-1].messages) == 4


def test_a_turn_without_a_session_is_not_remembered(served: Served) -> None:
    response = served.client.post("/v1/dialogue", files={"file": ("a.wav", SPEECH)})
    assert "session_id" not in response.json()
    assert len(served.llm.requests[-1].messages) == 2


def test_an_empty_session_id_is_none(served: Served) -> None:
    assert "session_id" not in talk(served, "")


def test_an_answer_names_its_session(served: Served) -> None:
    body = talk(served)
    assert body["session_id"] == "7"
    assert "warning" not in body
    assert "warnings" not in body
    assert dict(stream(served))["metadata"]["session_id"] == "7"


def test_sessions_are_apart(served: Served) -> None:
    talk(served, "a")
    talk(served, "b")
    assert len(served.llm.requests[-1].messages) == 2


def test_a_streamed_turn_is_remembered(served: Served) -> None:
    names = [name for name, _ in stream(served)]
    assert "warning" not in names
    assert remembered(served) == [("user", HEARD), ("assistant", REPLY)]


def test_what_the_model_was_told_is_what_is_remembered() -> None:
    prompts = PromptSettings(spoken_template="They said: {transcript}")
    with serving(quick_settings(prompts=prompts)) as served:
        talk(served)
        talk(served)
        assert served.llm.requests[1].messages[:2] == (
            served.llm.requests[0].messages[0],
            ChatMessage("user", f"They said: {HEARD}"),
        )
        assert remembered(served)[0] == ("user", f"They said: {HEARD}")


def test_a_reply_that_is_cut_off_is_remembered_as_far_as_it_was_written(served: Served) -> None:
    talk(served, generation_config='{"max_tokens": 2}')
    assert remembered(served) == [("user", HEARD), ("assistant", "The capital")]


def test_silence_is_not_remembered(served: Served) -> None:
    talk(served, data=SILENCE)
    assert problem(served.client.get("/v1/sessions/7")) == (404, "session_not_found", "session_id")


def test_a_turn_that_fails_is_not_remembered(served: Served) -> None:
    with served.broken("llm", StageFailed("llm"), after=2):
        assert stream(served)[-1][0] == "error"
    assert remembered(served) == []


def test_a_turn_whose_voice_fails_is_remembered(served: Served) -> None:
    with served.broken("tts", StageFailed("tts")):
        assert talk(served)["warning"]["code"] == "stage_failed"
    assert remembered(served) == [("user", HEARD), ("assistant", REPLY)]


def test_a_session_shows_what_was_said(served: Served) -> None:
    before = int(time.time())
    talk(served)
    body = served.client.get("/v1/sessions/7").json()
    created_at, updated_at = body.pop("created_at"), body.pop("updated_at")
    assert before <= created_at <= updated_at <= time.time()
    assert body == {
        "id": "7",
        "object": "session",
        "messages": [
            {"role": "user", "content": HEARD},
            {"role": "assistant", "content": REPLY},
        ],
    }


def test_a_deleted_session_is_gone(served: Served) -> None:
    talk(served)
    deleted = served.client.delete("/v1/sessions/7")
    assert deleted.json() == {"id": "7", "object": "session.deleted", "deleted": True}
    for response in (served.client.get("/v1/sessions/7"), served.client.delete("/v1/sessions/7")):
        assert problem(response) == (404, "session_not_found", "session_id")
    talk(served)
    assert len(served.llm.requests[-1].messages) == 2


@pytest.mark.parametrize("session_id", BAD_IDS)
def test_a_malformed_id_is_refused(served: Served, session_id: str) -> None:
    response = served.client.post(
        "/v1/dialogue", files={"file": ("a.wav", SPEECH)}, data={"session_id": session_id}
    )
    assert problem(response) == (400, "invalid_parameter", "session_id")
    assert served.stt.requests == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "session_id", ["a%20b", "..%2Fx", "%2e%2e", "a%2Fb", "%C3%A4", "a%0A", "x" * 65, "a.b", "a%00"]
)
def test_a_malformed_id_in_a_path_is_refused(served: Served, method: str, session_id: str) -> None:
    response = served.client.request(method, f"/v1/sessions/{session_id}")
    assert problem(response)[:2] in {(400, "invalid_parameter"), (404, "not_found")}


def test_a_field_that_the_form_does_not_have_is_refused(served: Served) -> None:
    response = served.client.post(
        "/v1/dialogue", files={"file": ("a.wav", SPEECH)}, data={"session": "7"}
    )
    assert problem(response) == (400, "unknown_parameter", "session")


def test_a_memory_that_cannot_be_read_costs_no_turn(served: Served) -> None:
    talk(served)
    with served.broken("state", StageTimeout("state")):
        body, events = talk(served), stream(served)
    assert body["response_text"] == REPLY
    assert body["audio_base64"]
    assert body["session_id"] == "7"
    assert body["warning"]["code"] == "memory_unavailable"
    assert body["warnings"] == [body["warning"]]
    assert [data["code"] for name, data in events if name == "warning"] == ["memory_unavailable"]
    assert events[-1][0] == "done"
    assert [len(request.messages) for request in served.llm.requests] == [2, 2, 2]
    assert len(remembered(served)) == 2


def test_a_memory_that_is_away_is_told_by_a_header_too(served: Served) -> None:
    def header(**form: str) -> list[str | None]:
        answers = [
            served.client.post(
                "/v1/dialogue",
                files={"file": ("a.wav", data)},
                data={"stream_audio": streamed, **form},
            )
            for data in (SPEECH, SILENCE)
            for streamed in ("true", "false")
        ]
        assert [answer.status_code for answer in answers] == [200] * 4
        return [answer.headers.get("x-session-memory") for answer in answers]

    assert header(session_id="7") == [None] * 4
    with served.broken("state", MemoryUnavailable()):
        assert header(session_id="7") == ["unavailable"] * 4
        assert header() == [None] * 4


def test_what_is_wrong_with_the_audio_is_told_before_the_memory(served: Served) -> None:
    with (
        served.broken("state", StageUnavailable("state")),
        served.broken("tts", StageFailed("tts")),
    ):
        body, events = talk(served), stream(served)
    codes = ["stage_failed", "memory_unavailable"]
    assert body["warning"]["code"] == "stage_failed"
    assert [warning["code"] for warning in body["warnings"]] == codes
    assert [data["code"] for name, data in events if name == "warning"] == codes


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("error", [StageUnavailable("state"), MemoryUnavailable()], ids=str)
def test_without_a_memory_the_routes_say_so(
    served: Served, method: str, error: SpeechError
) -> None:
    with served.broken("state", error):
        response = served.client.request(method, "/v1/sessions/7")
    assert problem(response) == (503, error.code, None)
    assert response.headers["retry-after"] == "1"


def test_turns_at_the_same_time_are_all_remembered_in_pairs(served: Served) -> None:
    with ThreadPoolExecutor(8) as callers:
        list(callers.map(lambda _: talk(served), range(8)))
    assert remembered(served) == [("user", HEARD), ("assistant", REPLY)] * 8


def test_a_long_dialogue_keeps_the_latest_turns() -> None:
    with serving(quick_settings(sessions=SessionSettings(max_messages=4))) as served:
        for number in range(1, 4):
            talk(served, generation_config=json.dumps({"max_tokens": number}))
        replies = [content for role, content in remembered(served) if role == "assistant"]
        assert replies == ["The capital", "The capital of"]


def test_one_key_does_not_see_the_sessions_of_another() -> None:
    keys = tuple(hashlib.sha256(key.encode()).hexdigest() for key in ("ann", "bob"))
    access = AccessSettings(enabled=True, keys_sha256=keys)
    with serving(quick_settings(access=access)) as served:
        ann, bob = {"X-API-Key": "ann"}, {"X-API-Key": "bob"}
        served.client.post(
            "/v1/dialogue",
            files={"file": ("a.wav", SPEECH)},
            data={"session_id": "7"},
            headers=ann,
        )
        assert len(remembered(served, **ann)) == 2
        for response in (
            served.client.get("/v1/sessions/7", headers=bob),
            served.client.delete("/v1/sessions/7", headers=bob),
        ):
            assert problem(response) == (404, "session_not_found", "session_id")
        assert len(remembered(served, **ann)) == 2
