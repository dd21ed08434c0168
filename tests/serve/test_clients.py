"""Other people's clients, unchanged, against the whole graph on fake engines."""

import hashlib
from collections.abc import Iterator

import pytest

from configs.settings import AccessSettings
from tests.clients.gemmavoice import GemmaVoiceCalls
from tests.clients.local_server import local_server
from tests.clients.openai_python import OpenAiPython
from tests.clients.target import Target, run_javascript
from tests.serve.cluster import Cluster, eventually
from tests.unit.fake_services import quick_settings

pytestmark = pytest.mark.serve

KEY = "correct horse battery staple"


@pytest.fixture(scope="module")
def target(cluster: Cluster) -> Iterator[Target]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    access = AccessSettings(enabled=True, keys_sha256=(digest,))
    with local_server(quick_settings(access=access)) as keyed_url:
        url = cluster.base_url
        yield Target(url, f"{url}/slow", keyed_url=keyed_url, api_key=KEY)


class TestOpenAiPython(OpenAiPython):
    """The official Python client."""


class TestGemmaVoice(GemmaVoiceCalls):
    """Clients of GemmaVoice-SpeechAPI."""


def test_the_official_javascript_client_works(target: Target) -> None:
    run_javascript(target)


def test_a_stream_that_javascript_left_ends_in_the_replica(
    cluster: Cluster, target: Target
) -> None:
    run_javascript(target, only="a stream can be left in the middle")
    eventually(
        lambda: not cluster.metrics().total("app_stage_in_flight", application="slow", stage="llm"),
        30,
        "the model is free",
    )
