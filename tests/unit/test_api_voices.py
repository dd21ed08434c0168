"""Cloned voices over HTTP and sockets: made, kept, and spoken with on every route."""

import base64
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from openai import BadRequestError, NotFoundError
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession

from configs.settings import AccessSettings, FakeSttSettings, VoiceLibrarySettings
from deployments.errors import StageUnavailable
from deployments.messages import VoiceCatalog, VoiceInfo, VoiceReference
from serve_app.services import AskedVoice
from tests.unit.counted_caller import counting
from tests.unit.fake_services import HEARD, RATE, Served, quick_settings, serving
from tests.unit.http_answers import problem
from tests.unit.media_files import example
from tests.unit.openai_client import checked, openai_client
from tests.unit.voices import CONSENTS, VOICES, new_consent, new_voice, post_voice, spoken, wav

TEXT = "It lies on the river."
TURN = {"file": spoken(2.0)}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def voice(served: Served) -> Any:
    return new_voice(served.client, name="Budi", language="id-ID")


def kept(served: Served, voice_id: str, owner: str = "anybody") -> VoiceReference:
    library = served.state._voices
    found = library.find_voice(owner, voice_id)
    assert found is not None
    return found.reference


# ---- made ----


def test_a_voice_is_heard_encoded_and_kept(served: Served, voice: Any) -> None:
    assert voice == {
        "id": voice["id"],
        "object": "audio.voice",
        "name": "Budi",
        "language": "id-ID",
        "sample_rate": RATE,
        "default": False,
        "created_at": voice["created_at"],
        "type": "audio_sample",
        "consent": voice["consent"],
        "text": HEARD,
    }
    assert voice["id"].startswith("voice_")
    reference = kept(served, voice["id"])
    assert (reference.text, reference.encoder) == (HEARD, "fake")
    assert reference.codes
    heard = served.stt.requests[-1]
    assert (heard.audio.sample_rate, heard.language) == (16_000, "id")
    assert abs(heard.audio.duration_s - 6.0) < 0.01


def test_a_sample_is_kept_with_all_its_bandwidth(served: Served) -> None:
    rate = 48_000
    times = np.arange(6 * rate) / rate
    speech = np.frombuffer(spoken()[44:], "<i2").repeat(3)[: 6 * rate]
    high = 1500 * np.sin(2 * np.pi * 15_000 * times)  # no 16 kHz audio can hold it
    new = post_voice(served.client, wav(speech + high, rate)).json()
    sample = served.state._voices.read_sample("anybody", new["id"])
    spectrum = np.abs(np.fft.rfft(np.frombuffer(sample.samples, "<i2")))
    assert sample.sample_rate == rate
    assert abs(np.argmax(spectrum[6 * 14_000 :]) / 6 + 14_000 - 15_000) < 10


def test_a_text_that_is_given_is_not_asked_of_the_speech_model(served: Served) -> None:
    before = len(served.stt.requests)
    new = new_voice(served.client, text="Selamat pagi.", language="id")
    assert (new["text"], new["language"]) == ("Selamat pagi.", "id")
    assert len(served.stt.requests) == before


def test_the_language_is_the_consents_where_none_is_given(served: Served) -> None:
    consent = new_consent(served.client, language="id-ID")["id"]
    assert new_voice(served.client, consent=consent)["language"] == "id-ID"
    assert served.stt.requests[-1].language == "id"


@pytest.mark.parametrize("name", ["mp3", "flac", "ogg_opus", "m4a_aac"])
def test_a_sample_comes_in_any_format(served: Served, name: str) -> None:
    status, code, param = problem(post_voice(served.client, example(name)))  # a tone
    assert (status, param) == (400, "audio_sample")
    assert code in ("recording_too_short", "no_speech")


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (spoken(2.5), "recording_too_short"),
        (spoken(10.9), "recording_too_long"),
        (wav(np.zeros(6 * 16_000), 16_000), "recording_too_quiet"),
        (spoken(6.0, 0.002), "recording_too_quiet"),
        (spoken(6.0, 12.0), "recording_clipped"),
        (wav(9000 * np.sin(np.arange(6 * 16_000) / 7), 16_000), "no_speech"),
        (wav(np.random.default_rng(1).normal(0, 3000, 6 * 16_000), 16_000), "no_speech"),
        (b"not audio", "unsupported_format"),
        (spoken()[:50], "invalid_audio"),
        (b"", "invalid_audio"),
    ],
    ids=["short", "long", "silent", "quiet", "clipped", "tone", "noise", "text", "torn", "empty"],
)  # fmt: skip
def test_a_sample_that_is_not_fit_says_why(served: Served, sample: bytes, code: str) -> None:
    before = len(served.state._voices.list_voices("anybody"))
    assert problem(post_voice(served.client, sample)) == (400, code, "audio_sample")
    assert len(served.state._voices.list_voices("anybody")) == before


@pytest.mark.parametrize("gain", [0.05, 1.0, 1.3])
def test_a_usual_loudness_is_fit(served: Served, gain: float) -> None:
    assert post_voice(served.client, spoken(6.0, gain)).status_code == 200


def test_a_sample_in_which_no_words_are_heard_is_refused() -> None:
    with serving(quick_settings(stt=FakeSttSettings(text="", latency_s=0))) as served:
        assert problem(post_voice(served.client)) == (400, "no_words", "audio_sample")
        assert post_voice(served.client, text="Hello.").status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"consent": "cons_" + "0" * 24}, 404, "voice_consent_not_found", "consent"),
        ({"consent": "../../etc/passwd"}, 404, "voice_consent_not_found", "consent"),
        ({"name": ""}, 400, "missing_parameter", "name"),
        ({"name": " \n"}, 400, "invalid_parameter", "name"),
        ({"name": "x" * 65}, 400, "invalid_parameter", "name"),
        ({"language": "not a language"}, 400, "invalid_parameter", "language"),
        ({"type": "prompt"}, 400, "invalid_parameter", "type"),
        ({"pitch": "1"}, 400, "unknown_parameter", "pitch"),
        ({"text": "x" * 1001}, 400, "invalid_parameter", "text"),
    ],
)
def test_a_form_that_cannot_be_is_refused(
    served: Served, fields: dict[str, str], status: int, code: str, param: str
) -> None:
    assert problem(post_voice(served.client, **fields)) == (status, code, param)


def test_a_voice_needs_a_consent_unless_the_operator_says_otherwise(served: Served) -> None:
    files, data = {"audio_sample": spoken()}, {"name": "Ada"}
    answer = served.client.post(VOICES, data=data, files=files)
    assert problem(answer) == (400, "invalid_parameter", "consent")
    with serving(quick_settings(voices=VoiceLibrarySettings(require_consent=False))) as free:
        answer = free.client.post(VOICES, data=data, files=files)
        assert answer.status_code == 200
        assert "consent" not in answer.json()


def test_an_engine_that_clones_nothing_says_so_before_any_work(
    served: Served, voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = served.tts.engine.voices()
    plain = type(catalog)(catalog.default, catalog.voices)
    monkeypatch.setattr(served.services, "catalog", plain)
    before = len(served.stt.requests)
    assert problem(post_voice(served.client)) == (400, "voice_cloning_unsupported", None)
    assert len(served.stt.requests) == before
    assert [each["id"] for each in served.client.get(VOICES).json()["data"]] == ["tone", "high"]
    body = {"input": TEXT, "voice": voice["id"]}
    assert problem(served.client.post("/v1/audio/speech", json=body))[:2] == (
        404,
        "voice_not_found",
    )
    inline = {"text": TEXT, "references": [base64.b64encode(spoken()).decode()]}
    answer = served.client.post("/v1/text-to-speech", json=inline)
    assert problem(answer) == (400, "voice_cloning_unsupported", None)


@pytest.mark.parametrize(("spoken", "status"), [("mul", 200), ("", 200), ("id", 200), ("en", 400)])
def test_a_voice_of_many_languages_takes_any(
    served: Served, monkeypatch: pytest.MonkeyPatch, spoken: str, status: int
) -> None:
    catalog = VoiceCatalog("tone", (VoiceInfo("tone", RATE, spoken),), "fake")
    monkeypatch.setattr(served.services, "catalog", catalog)
    body = {"text": "Harganya 5.", "language_code": "id"}
    assert served.client.post("/v1/text-to-speech/tone", json=body).status_code == status


def test_the_recordings_are_counted(served: Served) -> None:
    with counting(served) as caller:
        new_voice(served.client)
    assert [round(seconds, 1) for seconds in caller.heard_s] == [3.0, 6.0]


# ---- listed, looked at, deleted ----


def test_voices_are_listed_after_those_of_the_engine(served: Served, voice: Any) -> None:
    listed = served.client.get(VOICES).json()
    assert [each["id"] for each in listed["voices"]][:2] == ["tone", "high"]
    assert voice in listed["data"]
    assert listed["data"] == listed["voices"]
    assert served.client.get(f"{VOICES}/{voice['id']}").json() == voice
    assert served.client.get(f"{VOICES}/tone").json()["default"] is True
    elevenlabs = served.client.get("/v1/voices").json()["voices"]
    (same,) = [each for each in elevenlabs if each["voice_id"] == voice["id"]]
    assert (same["name"], same["category"]) == ("Budi", "cloned")


def test_a_deleted_voice_speaks_no_more(served: Served) -> None:
    gone = new_voice(served.client, name="Gone")["id"]
    assert speak(served, gone).status_code == 200
    answer = served.client.delete(f"{VOICES}/{gone}").json()
    assert answer == {"id": gone, "object": "audio.voice.deleted", "deleted": True}
    for attempt in (
        lambda: speak(served, gone),
        lambda: speak(served, "Gone"),
        lambda: served.client.get(f"{VOICES}/{gone}"),
        lambda: served.client.delete(f"{VOICES}/{gone}"),
    ):
        assert problem(attempt()) == (404, "voice_not_found", "voice")


@pytest.mark.parametrize("name", ["tone", "nobody", "..%2F..%2Fetc", "voice_" + "0" * 24])
def test_only_cloned_voices_can_be_deleted(served: Served, name: str) -> None:
    assert served.client.delete(f"{VOICES}/{name}").status_code == 404


def test_consents_are_kept_renamed_and_deleted(served: Served) -> None:
    consent = new_consent(served.client, name="Ada", language="id-ID")
    place = f"{CONSENTS}/{consent['id']}"
    assert served.client.get(place).json() == consent
    renamed = served.client.post(place, json={"name": "Ada L."}).json()
    assert renamed == {**consent, "name": "Ada L."}
    used = new_voice(served.client, consent=consent["id"])["id"]
    assert problem(served.client.delete(place)) == (409, "voice_consent_in_use", "consent")
    served.client.delete(f"{VOICES}/{used}")
    deleted = {"id": consent["id"], "object": "audio.voice_consent", "deleted": True}
    assert served.client.delete(place).json() == deleted
    assert problem(served.client.get(place)) == (404, "voice_consent_not_found", "consent")


@pytest.mark.parametrize(
    ("recording", "code"),
    [(spoken(0.5), "recording_too_short"), (wav(np.zeros(48_000), 16_000), "no_speech"),
     (spoken() * 2 and wav(np.tile(np.frombuffer(spoken()[44:], "<i2"), 11), 16_000),
      "recording_too_long"), (b"x", "unsupported_format")],
    ids=["short", "silent", "long", "text"],
)  # fmt: skip
def test_a_consent_must_be_spoken(served: Served, recording: bytes, code: str) -> None:
    data = {"name": "Ada", "language": "en-US"}
    answer = served.client.post(CONSENTS, data=data, files={"recording": recording})
    assert problem(answer) == (400, code, "recording")


def test_a_library_that_is_full_says_so() -> None:
    with serving(quick_settings(voices=VoiceLibrarySettings(max_per_key=1))) as served:
        consent = new_voice(served.client)["consent"]
        answer = post_voice(served.client, consent=consent)
        assert problem(answer) == (400, "voice_library_full", None)


# ---- OpenAI's own client ----


def test_openais_client_makes_lists_and_deletes() -> None:
    with serving() as served:
        client = openai_client(served)
        consents = [
            checked(client.audio.voice_consents.create(
                name=f"Ada {n}", language="en-US", recording=("c.wav", spoken(3.0), "audio/wav")
            ))
            for n in range(5)
        ]  # fmt: skip
        listed = [each.id for each in client.audio.voice_consents.list(limit=2)]
        assert listed == [each.id for each in reversed(consents)]
        with pytest.raises(NotFoundError):
            client.audio.voice_consents.list(after="cons_nothing")
        made = checked(
            client.audio.voices.create(
                name="Ada", consent=consents[0].id, audio_sample=("a.wav", spoken(), "audio/wav")
            )
        )
        audio = client.audio.speech.create(
            model="tts-1", voice={"id": made.id}, input=TEXT, response_format="wav"
        )
        assert audio.content[:4] == b"RIFF"
        assert served.tts.requests[-1].references == (kept(served, made.id),)
        with pytest.raises(BadRequestError):
            client.audio.voices.create(name="Ada", prompt="A calm voice.", type="prompt")
        checked(client.audio.voice_consents.retrieve(consents[1].id))
        checked(client.audio.voice_consents.update(consents[1].id, name="Eva"))
        assert checked(client.audio.voice_consents.delete(consents[1].id)).deleted
        assert checked(client.audio.voices.delete(made.id)).deleted


# ---- whose they are ----

KEYS = {name: {"authorization": f"Bearer {name * 20}"} for name in ("ann", "bob")}


@pytest.fixture(scope="module")
def locked() -> Iterator[TestClient]:
    hashes = tuple(sha256((name * 20).encode()).hexdigest() for name in KEYS)
    access = AccessSettings(enabled=True, keys_sha256=hashes, public_lists=True)
    with serving(quick_settings(access=access)) as served:
        yield served.client


def test_what_one_key_made_is_not_seen_by_another(locked: TestClient) -> None:
    ann, bob = KEYS["ann"], KEYS["bob"]
    voice = new_voice(locked, ann, name="Anns")
    seen = [each["id"] for each in locked.get(VOICES, headers=ann).json()["data"]]
    assert voice["id"] in seen
    for headers in (bob, {}):
        listed = locked.get(VOICES, headers=headers).json()["data"]
        assert [each["id"] for each in listed] == ["tone", "high"]
    assert problem(locked.get(f"{VOICES}/{voice['id']}")) == (401, "missing_api_key", None)
    place, consent = f"{VOICES}/{voice['id']}", f"{CONSENTS}/{voice['consent']}"
    for method, path in [
        ("GET", place), ("DELETE", place), ("GET", consent), ("DELETE", consent),
    ]:  # fmt: skip
        assert locked.request(method, path, headers=bob).status_code == 404
    for name in (voice["id"], "Anns"):
        body = {"input": TEXT, "voice": name}
        assert locked.post("/v1/audio/speech", json=body, headers=ann).status_code == 200
        assert locked.post("/v1/audio/speech", json=body, headers=bob).status_code == 404
    answer = post_voice(locked, headers=bob, consent=voice["consent"])
    assert problem(answer) == (404, "voice_consent_not_found", "consent")


# ---- spoken with, everywhere ----


def speak(served: Served, voice: str) -> Any:
    body = {"input": TEXT, "voice": voice, "response_format": "wav"}
    return served.client.post("/v1/audio/speech", json=body)


def synthesis(voice: str) -> str:
    return json.dumps({"reference_id": voice})


def until(socket: WebSocketTestSession, kind: str) -> Any:
    """The next event of this type; an error fails."""
    while (event := socket.receive_json())["type"] != kind:
        assert event["type"] != "error", event
    return event


def over_gemmavoice_speech(client: TestClient, voice: str) -> None:
    with client.websocket_connect("/v1/text-to-speech/ws") as socket:
        socket.send_json({"text": TEXT, "reference_id": voice})
        while (event := socket.receive_json())["event"] not in ("done", "error"):
            pass
        assert event["event"] == "done", event


def over_gemmavoice_conversation(client: TestClient, voice: str) -> None:
    with client.websocket_connect("/v1/conversation/ws") as socket:
        config = {"synthesis_config": {"reference_id": voice}}
        socket.send_json({"type": "config", "data": config})
        until(socket, "configured")
        socket.send_json({"type": "text", "data": "What is it?"})
        until(socket, "audio")


def over_elevenlabs(client: TestClient, voice: str) -> None:
    with client.websocket_connect(f"/v1/text-to-speech/{voice}/stream-input") as socket:
        for text in (" ", f"{TEXT} ", ""):
            socket.send_json({"text": text})
        while not (event := socket.receive_json()).get("isFinal"):
            assert "error" not in event


def over_realtime(client: TestClient, voice: str | dict[str, str]) -> None:
    with client.websocket_connect("/v1/realtime?model=gpt-realtime") as socket:
        audio = {"output": {"voice": voice}, "input": {"turn_detection": None}}
        socket.send_json(
            {"type": "session.update", "session": {"type": "realtime", "audio": audio}}
        )
        assert until(socket, "session.updated")["session"]["audio"]["output"]["voice"] != "tone"
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]}
        socket.send_json({"type": "conversation.item.create", "item": item})
        socket.send_json({"type": "response.create"})
        assert until(socket, "response.done")["response"]["status"] == "completed"


def over_realtime_response(client: TestClient, voice: str) -> None:
    with client.websocket_connect("/v1/realtime?model=gpt-realtime") as socket:
        response = {"audio": {"output": {"voice": {"id": voice}}}, "input": []}
        socket.send_json({"type": "response.create", "response": response})
        until(socket, "response.done")


def over_a_short_lived_key(client: TestClient, voice: str) -> None:
    session = {"type": "realtime", "audio": {"output": {"voice": voice}}}
    made = client.post("/v1/realtime/client_secrets", json={"session": session})
    assert made.status_code == 200, made.text
    assert made.json()["session"]["audio"]["output"]["voice"].startswith("voice_")
    headers = {"authorization": f"Bearer {made.json()['value']}"}
    with client.websocket_connect("/v1/realtime?model=gpt-realtime", headers=headers) as socket:
        socket.send_json({"type": "response.create", "response": {"input": []}})
        until(socket, "response.done")


def posted(path: str, **sent: Callable[[str], Any]) -> Callable[[TestClient, str], None]:
    def ask(client: TestClient, voice: str) -> None:
        made = {name: make(voice) for name, make in sent.items()}
        answer = client.post(path.format(voice=voice), **made)
        assert answer.status_code == 200, answer.text

    return ask


REFUSED = (AssertionError, WebSocketDenialResponse)
ROUTES: dict[str, Callable[[TestClient, str], None]] = {
    "speech": posted("/v1/audio/speech", json=lambda v: {"input": TEXT, "voice": v}),
    "speech, by object": posted(
        "/v1/audio/speech", json=lambda v: {"input": TEXT, "voice": {"id": v}}
    ),
    "gemmavoice": posted("/v1/text-to-speech", json=lambda v: {"text": TEXT, "reference_id": v}),
    "elevenlabs": posted("/v1/text-to-speech/{voice}", json=lambda v: {"text": TEXT}),
    "elevenlabs, streamed": posted(
        "/v1/text-to-speech/{voice}/stream", json=lambda v: {"text": TEXT}
    ),
    "dialogue": posted(
        "/v1/dialogue", files=lambda v: TURN, data=lambda v: {"synthesis_config": synthesis(v)}
    ),
    "chat": posted(
        "/v1/chat/completions",
        json=lambda v: {
            "messages": [{"role": "user", "content": "What is it?"}],
            "modalities": ["text", "audio"],
            "audio": {"voice": v, "format": "wav"},
        },
    ),
    "chat, by object": posted(
        "/v1/chat/completions",
        json=lambda v: {
            "messages": [{"role": "user", "content": "What is it?"}],
            "modalities": ["text", "audio"],
            "audio": {"voice": {"id": v}, "format": "wav"},
        },
    ),
    "gemmavoice socket": over_gemmavoice_speech,
    "conversation socket": over_gemmavoice_conversation,
    "elevenlabs socket": over_elevenlabs,
    "realtime": over_realtime,
    "realtime, by object": lambda client, voice: over_realtime(client, {"id": voice}),
    "realtime, one response": over_realtime_response,
    "short-lived key": over_a_short_lived_key,
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_cloned_voice_speaks_on_every_route(
    served: Served, voice: Any, route: str, by: str
) -> None:
    served.tts.requests.clear()
    ROUTES[route](served.client, voice[by])
    assert served.tts.requests
    for request in served.tts.requests:
        assert request.references == (kept(served, voice["id"]),)
        assert request.voice is None
        assert request.language == "id-ID"


@pytest.mark.parametrize("route", ROUTES)
def test_an_unknown_voice_is_refused_on_every_route(served: Served, route: str) -> None:
    served.tts.requests.clear()
    with pytest.raises(REFUSED) as refused:
        ROUTES[route](served.client, f"voice_{'0' * 24}")
    if isinstance(refused.value, WebSocketDenialResponse):
        assert refused.value.status_code == 404
    else:
        assert "does not exist" in str(refused.value)
    assert not served.tts.requests


@pytest.mark.parametrize("route", ROUTES)
def test_without_the_library_no_route_speaks_with_another_voice(
    served: Served, voice: Any, route: str
) -> None:
    served.tts.requests.clear()
    served.services.cloned.forget()
    with (
        served.broken("state", StageUnavailable("state")),
        pytest.raises(REFUSED),
    ):
        ROUTES[route](served.client, voice["id"])
    assert not served.tts.requests


def test_without_the_library_the_engines_voices_speak_on(served: Served) -> None:
    with served.broken("state", StageUnavailable("state")):
        assert speak(served, "alloy").status_code == 200
        assert speak(served, "high").status_code == 200
        assert problem(speak(served, "Budi")) == (503, "stage_unavailable", None)
        answer = served.client.get(VOICES)
        assert problem(answer) == (503, "stage_unavailable", None)


async def test_a_cloned_voice_is_found_while_no_engine_answers(served: Served, voice: Any) -> None:
    asked = served.services.voice_to_come
    with served.broken("tts", StageUnavailable("tts")):
        found = [await asked(name, "anybody") for name in (voice["id"], "Budi")]
        others = [await asked(name, "bob") for name in (voice["id"], "high", None)]
    cloned = AskedVoice(name=voice["id"], language="id-ID", references=(kept(served, voice["id"]),))
    assert found == [cloned, cloned]
    assert others == [AskedVoice(name=name) for name in (voice["id"], "high", None)]


def test_another_encoder_encodes_the_kept_sample_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = new_voice(served.client, name="Again")["id"]
    old = kept(served, voice)
    encoded: list[Any] = []

    def encode(audio: Any, text: str) -> VoiceReference:
        encoded.append((audio, text))
        return VoiceReference(text, old.codes, "new")

    catalog = served.tts.engine.voices()
    newer = type(catalog)(catalog.default, catalog.voices, "new")
    monkeypatch.setattr(served.services, "catalog", newer)
    monkeypatch.setattr(served.tts.engine, "encode_voice", encode)
    for _ in range(3):
        assert speak(served, voice).status_code == 200
        served.services.cloned.forget()
    assert [(audio.sample_rate, text) for audio, text in encoded] == [(48_000, HEARD)]
    assert served.tts.requests[-1].references == (VoiceReference(HEARD, old.codes, "new"),)
    assert kept(served, voice).encoder == "new"


# ---- recordings in a request ----


def inline(served: Served, *references: Any, **fields: Any) -> Any:
    body = {"text": TEXT, "references": list(references), **fields}
    return served.client.post("/v1/text-to-speech", json=body)


def test_what_encode_reference_gives_is_spoken_with_and_encoded_once(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = served.tts.engine.encode_voice, []
    monkeypatch.setattr(
        served.tts.engine, "encode_voice", lambda *each: encoded.append(each) or encode(*each)
    )
    one = spoken(5.5)
    answer = served.client.post("/v1/encode-reference", files={"file": one}).json()
    assert answer == {"reference_base64": base64.b64encode(one).decode()}
    heard = len(served.stt.requests)
    for _ in range(3):
        assert inline(served, answer["reference_base64"]).status_code == 200
    assert len(encoded) == len(served.stt.requests) - heard == 1
    assert [each.text for each in served.tts.requests[-1].references] == [HEARD]
    two = {"audio": base64.b64encode(spoken(4.0)).decode(), "text": "And so"}
    assert inline(served, answer["reference_base64"], two).status_code == 200
    assert [each.text for each in served.tts.requests[-1].references] == [HEARD, "And so"]


FOUR = base64.b64encode(spoken(4.0)).decode()


@pytest.mark.parametrize(
    ("references", "fields", "code", "param"),
    [
        ([FOUR] * 4, {}, "invalid_parameter", "references"),
        ([FOUR], {"reference_id": "tone"}, "invalid_parameter", "references"),
        ([FOUR, "%%%"], {}, "invalid_parameter", "references.1"),
        ([base64.b64encode(spoken(2.0)).decode()], {}, "recording_too_short", "references.0"),
        ([{"audio": FOUR, "text": ""}], {}, "invalid_parameter", "references.0"),
        ([{"audio": FOUR, "name": "x"}], {}, "invalid_parameter", "references.0"),
        ([""], {}, "invalid_parameter", "references.0"),
    ],
    ids=["many", "both", "base64", "short", "no text", "unknown", "empty"],
)
def test_recordings_that_cannot_be_used_are_refused(
    served: Served, references: list[Any], fields: dict[str, str], code: str, param: str
) -> None:
    assert problem(inline(served, *references, **fields)) == (400, code, param)


def test_a_turn_and_the_sockets_take_recordings_too(served: Served) -> None:
    config = {"synthesis_config": json.dumps({"references": [FOUR]})}
    served.tts.requests.clear()
    assert served.client.post("/v1/dialogue", files=TURN, data=config).status_code == 200
    short = {"synthesis_config": json.dumps({"references": ["AAAA"]})}
    answer = served.client.post("/v1/dialogue", files=TURN, data=short)
    assert problem(answer) == (400, "unsupported_format", "synthesis_config.references.0")
    with served.client.websocket_connect("/v1/text-to-speech/ws") as socket:
        socket.send_json({"text": TEXT, "references": [FOUR]})
        while (event := socket.receive_json())["event"] not in ("done", "error"):
            pass
        assert event["event"] == "done", event
    with served.client.websocket_connect("/v1/conversation/ws") as socket:
        data = {"synthesis_config": {"references": [FOUR]}}
        socket.send_json({"type": "config", "data": data})
        socket.send_json({"type": "text", "data": "What is it?"})
        until(socket, "audio")
    assert len({each.references for each in served.tts.requests}) == 1
    assert served.tts.requests[0].references
