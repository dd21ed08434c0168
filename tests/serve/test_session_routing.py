"""A conversation goes to the model that knows it, as long as that one has room and is there."""

import os
import signal
from collections.abc import Sequence

import httpx2
import pytest

from tests.serve.calls import in_background
from tests.serve.cluster import Cluster, eventually

pytestmark = pytest.mark.serve

APPLICATION = "paired"
MENDED_S = 45.0


def chat(cluster: Cluster, topic: str, *, turns: int = 0, tokens: int = 1) -> httpx2.Response:
    """A conversation that began with this topic; its id is how it began."""
    messages = [{"role": "user", "content": f"Let us speak of {topic}."}]
    for turn in range(turns):
        messages.append({"role": "assistant", "content": f"Answer {turn}."})
        messages.append({"role": "user", "content": f"Question {turn}?"})
    body = {"messages": messages, "max_tokens": tokens, "model": "gpt-4o-mini"}
    return cluster.client.post(f"/{APPLICATION}/v1/chat/completions", json=body, timeout=30)


def calls(cluster: Cluster) -> dict[str, float]:
    return cluster.metrics().by_replica(
        "app_stage_calls_total", application=APPLICATION, stage="llm"
    )


def answered_by(cluster: Cluster, responses: Sequence[httpx2.Response], before: float) -> None:
    assert [response.status_code for response in responses] == [200] * len(responses)
    eventually(
        lambda: sum(calls(cluster).values()) >= before + len(responses), 15, "all calls are counted"
    )


def test_the_turns_of_a_conversation_go_to_one_model(cluster: Cluster):
    before = calls(cluster)
    answered_by(
        cluster,
        [chat(cluster, "whales", turns=turns) for turns in range(6)],
        sum(before.values()),
    )
    more = {name: n - before.get(name, 0) for name, n in calls(cluster).items()}
    assert sorted(n for n in more.values() if n) == [6]


def test_conversations_are_spread_over_the_models(cluster: Cluster):
    before = calls(cluster)
    answered_by(cluster, [chat(cluster, f"number {n}") for n in range(24)], sum(before.values()))
    more = [n - before.get(name, 0) for name, n in calls(cluster).items()]
    assert sum(n >= 3 for n in more) == 2, more


def test_a_conversation_whose_model_is_full_goes_to_the_other(cluster: Cluster):
    before = calls(cluster)
    at_once = [in_background(lambda: chat(cluster, "owls", tokens=100)) for _ in range(4)]
    answered_by(cluster, [each.result(30) for each in at_once], sum(before.values()))
    more = sorted(n - before.get(name, 0) for name, n in calls(cluster).items())
    assert more[-2:] == [2, 2], more


def test_a_model_that_dies_costs_no_answer(cluster: Cluster):
    pids = cluster.replica_pids(APPLICATION, "llm")
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    # One of these conversations was the lost model's, whichever it was.
    responses = [chat(cluster, f"number {n}", turns=1) for n in range(12)]
    assert [response.status_code for response in responses] == [200] * 12
    eventually(
        lambda: len(set(cluster.replica_pids(APPLICATION, "llm")) - {pids[0]}) == 2,
        MENDED_S,
        "two models are there again",
    )
