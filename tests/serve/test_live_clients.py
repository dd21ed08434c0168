"""Other people's clients talk to the graph: real speech in real time, fake engines behind it."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.live_programs import QUESTION, run_program
from tests.serve.cluster import Cluster

pytestmark = pytest.mark.serve

HEARD = "What is the capital of France?"
REPLY = "The capital of France is Paris. It lies on the river Seine."
FIRST_SLOW_WORDS = "Sentence number 1"
TURN = [
    "session.created",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]
BETA_NAMES = {
    "conversation.item.added": "conversation.item.created",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
BETA_TURN = [BETA_NAMES.get(each, each) for each in TURN if each != "conversation.item.done"]


def is_in_order(wanted: list[str], told: list[str]) -> bool:
    """Whether all that is wanted was told, in this order, with whatever between."""
    rest = iter(told)
    return all(each in rest for each in wanted)


def openai_urls(cluster: Cluster) -> tuple[str, str]:
    return f"{cluster.base_url}/v1", f"{cluster.base_url}/slow/v1"


def socket_urls(cluster: Cluster) -> tuple[str, str]:
    base = cluster.base_url.replace("http", "ws", 1)
    return f"{base}/v1/realtime", f"{base}/slow/v1/realtime"


def speaks(reply: dict[str, Any], text: str = REPLY) -> bool:
    return reply["said"].strip() == text and reply["audio_s"] > 2


# ---- openai ----


@pytest.fixture(scope="module")
def ga(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the official client sees."""
    folder = tmp_path_factory.mktemp("ga")
    scenarios = ("turn", "text", "tools", "interrupt", "errors")
    urls = openai_urls(cluster)
    return run_program("openai_realtime", "ga", *urls, QUESTION, folder, *scenarios)


def test_openai_every_event_is_one_that_the_client_knows(ga: Any) -> None:
    assert [each for seen in ga.values() for each in seen["invalid"]] == []


def test_openai_a_spoken_turn(ga: Any) -> None:
    seen = ga["turn"]
    assert is_in_order(TURN, seen["order"]), seen["order"]
    assert seen["transcripts"] == [HEARD]
    assert seen["partial"] == HEARD
    assert speaks(seen)
    assert seen["status"] == "completed"
    assert seen["output_tokens"] > 5
    assert 0 < seen["after_s"] < 3


def test_openai_a_written_turn_is_answered_in_writing_and_the_next_one_aloud(ga: Any) -> None:
    seen = ga["text"]
    assert seen["answer"].strip() == REPLY
    assert "response.output_text.done" in seen["order"]
    assert speaks(seen)


def test_openai_a_tool_is_called_and_its_result_answered(ga: Any) -> None:
    seen = ga["tools"]
    assert seen["name"] == "weather"
    assert seen["arguments"] == seen["streamed"] == seen["done"]
    assert "Paris" in seen["arguments"]
    assert seen["same_call"]
    assert seen["said"].strip() == REPLY


def test_openai_speech_stops_a_reply_at_once_and_what_was_not_heard_is_forgotten(ga: Any) -> None:
    seen = ga["interrupt"]
    assert seen["status"] == "cancelled"
    assert seen["details"]["reason"] == "turn_detected"
    assert seen["item_status"] == "incomplete"
    assert seen["late_s"] <= 0.04
    assert seen["whole"].startswith(FIRST_SLOW_WORDS)
    assert not seen["kept"]  # in 0.1 s no sentence is played to its end
    assert seen["errors"] == []


def test_openai_errors_name_the_event_and_the_session_goes_on(ga: Any) -> None:
    seen = ga["errors"]
    ids = ["cancel_1", "delete_1", "commit_1", "a", "unknown_1", "form_1"]
    assert [each["event_id"] for each in seen["told"]] == ids
    cancelled, _, committed, *_ = seen["told"]
    assert cancelled["code"] == "response_cancel_not_active"
    assert cancelled["message"].startswith("Cancellation failed")
    assert committed["code"] == "input_audio_buffer_commit_empty"
    assert {each["type"] for each in seen["told"]} == {"invalid_request_error"}
    assert seen["answer"].strip() == REPLY


@pytest.fixture(scope="module")
def beta(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the official client sees where it speaks the dialect of the beta."""
    folder = tmp_path_factory.mktemp("beta")
    scenarios = ("turn", "text", "tools", "interrupt", "errors")
    urls = openai_urls(cluster)
    return run_program("openai_realtime", "beta", *urls, QUESTION, folder, *scenarios)


def test_openai_beta_a_spoken_turn(beta: Any) -> None:
    seen = beta["turn"]
    assert is_in_order(BETA_TURN, seen["order"]), seen["order"]
    assert seen["transcripts"] == [HEARD]
    assert speaks(seen)
    assert not set(BETA_NAMES) & set(seen["order"])


def test_openai_beta_a_written_turn(beta: Any) -> None:
    assert beta["text"]["answer"].strip() == REPLY
    assert "response.text.done" in beta["text"]["order"]
    assert speaks(beta["text"])


def test_openai_beta_a_tool_is_called_and_its_result_answered(beta: Any) -> None:
    assert beta["tools"]["name"] == "weather"
    assert beta["tools"]["arguments"] == beta["tools"]["streamed"]
    assert beta["tools"]["said"].strip() == REPLY


def test_openai_beta_speech_stops_a_reply_at_once(beta: Any) -> None:
    assert beta["interrupt"]["status"] == "cancelled"
    assert beta["interrupt"]["late_s"] <= 0.04
    assert not beta["interrupt"]["kept"]


def test_openai_beta_errors_name_the_event_and_the_session_goes_on(beta: Any) -> None:
    assert beta["errors"]["told"][0]["code"] == "response_cancel_not_active"
    assert beta["errors"]["answer"].strip() == REPLY


# ---- pipecat ----


@pytest.fixture(scope="module")
def pipecat(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What pipecat's realtime service sees."""
    folder = tmp_path_factory.mktemp("pipecat")
    scenarios = ("turn", "interrupt", "tools")
    return run_program("pipecat_realtime", *socket_urls(cluster), QUESTION, folder, *scenarios)


def test_pipecat_two_spoken_turns(pipecat: Any) -> None:
    seen = pipecat["turn"]
    assert seen["transcripts"] == [HEARD, HEARD]
    assert seen["said"].replace(" ", "") == 2 * REPLY.replace(" ", "")
    assert seen["audio_s"] > 4
    assert [role for role, _ in seen["remembered"]] == 2 * ["user", "assistant"]
    assert seen["frames"].count("LLMFullResponseEnd") == 2
    assert seen["errors"] == []


def test_pipecat_speech_stops_a_reply_and_is_answered(pipecat: Any) -> None:
    seen = pipecat["interrupt"]
    assert seen["transcripts"] == [HEARD, HEARD]
    assert "Interruption" in seen["frames"]
    assert 1 < seen["audio_s"] < 10
    assert seen["next_audio_s"] > 0.5
    assert seen["errors"] == []


def test_pipecat_a_tool_is_called_and_its_result_answered(pipecat: Any) -> None:
    seen = pipecat["tools"]
    assert seen["calls"] == [{"city": "Paris"}]
    assert seen["said"].replace(" ", "") == REPLY.replace(" ", "")
    assert seen["errors"] == []


# ---- LiveKit ----


@pytest.fixture(scope="module")
def livekit(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What LiveKit's realtime model sees."""
    folder = tmp_path_factory.mktemp("livekit")
    scenarios = ("turn", "text", "tools", "interrupt", "manual")
    return run_program("livekit_realtime", *socket_urls(cluster), QUESTION, folder, *scenarios)


def test_livekit_never_sees_an_error(livekit: Any) -> None:
    assert [each for seen in livekit.values() for each in seen["errors"]] == []


def test_livekit_a_spoken_turn_in_a_conversation_that_was_there_before(livekit: Any) -> None:
    seen = livekit["turn"]
    assert seen["transcripts"][-1] == HEARD
    assert speaks(seen["replies"][0])
    assert seen["remembered"] == [
        ["user", "My name is Ann."],
        ["assistant", "Hello Ann."],
        ["user", HEARD],
        ["assistant", REPLY],
    ]


def test_livekit_a_written_turn(livekit: Any) -> None:
    assert speaks(livekit["text"]["replies"][0])


def test_livekit_a_tool_is_called_and_its_result_answered(livekit: Any) -> None:
    seen = livekit["tools"]
    assert [name for name, _ in seen["calls"]] == ["weather"]
    assert speaks(seen["replies"][-1])


def test_livekit_speech_stops_a_reply_and_is_answered(livekit: Any) -> None:
    first, second, *_ = livekit["interrupt"]["replies"]
    assert first["cut_ms"] > 500
    assert first["audio_s"] < 10
    assert second["audio_s"] > 0


def test_livekit_the_client_may_say_when_the_user_has_finished(livekit: Any) -> None:
    assert livekit["manual"]["transcripts"][-1] == HEARD
    assert speaks(livekit["manual"]["replies"][0])


def test_livekits_plugin_for_elevenlabs_speaks_with_this_voice(
    cluster: Cluster, tmp_path: Path
) -> None:
    url, _ = openai_urls(cluster)
    seen = run_program("livekit_elevenlabs", url, "tone", tmp_path, "stream", "chunked")
    whole, cut, again = seen["stream"]
    assert whole["audio_s"] > 3
    assert again["audio_s"] == pytest.approx(whole["audio_s"], rel=0.1)
    assert 0.3 < cut["audio_s"] < whole["audio_s"]
    assert whole["first_s"] < 2
    assert "".join(word for word, *_ in whole["words"]).split() == whole["text"].split()
    assert seen["chunked"]["audio_s"] > 3
    assert seen["chunked"]["rate"] == 24_000


# ---- OpenAI's Agents SDK ----


def test_agents_sdk_a_written_and_a_spoken_turn_and_a_tool(cluster: Cluster) -> None:
    url, _ = socket_urls(cluster)
    seen = run_program("agents_realtime", url, QUESTION, "turn", "tools")
    assert [said for said in seen["turn"]["history"] if said[1]] == [
        ["user", "Say hello."],
        ["assistant", REPLY],
        ["user", HEARD],
        ["assistant", REPLY],
    ]
    assert seen["turn"]["audio_s"] > 4
    assert seen["tools"]["tools"] == ["sunny"]
    assert seen["tools"]["audio_s"] > 0
    assert seen["turn"]["errors"] == seen["tools"]["errors"] == []
