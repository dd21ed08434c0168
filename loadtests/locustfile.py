# pyright: basic
"""One-shot spoken turns over HTTP, for a server on this machine.

    .venv/bin/locust -f loadtests/locustfile.py --headless -u 4 -r 1 -t 60s -H http://127.0.0.1:8000

Reports the whole turn as `/v1/dialogue` and the time to the first audio as `first audio`.
"""

import json
import time
from itertools import cycle
from pathlib import Path

from locust import HttpUser, between, task

SPEECH = sorted((Path(__file__).parent.parent / "tests/data/speech").glob("en_*.wav"))


class SpokenTurns(HttpUser):
    """A person who speaks, listens to the answer, and speaks again."""

    wait_time = between(1.0, 3.0)

    def on_start(self) -> None:
        self._recordings = cycle(path.read_bytes() for path in SPEECH)

    @task
    def turn(self) -> None:
        start = time.perf_counter()
        heard_first_audio = False
        with self.client.post(
            "/v1/dialogue",
            files={"file": next(self._recordings)},
            data={"stream_audio": "true"},
            stream=True,
            catch_response=True,
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            for line in response.iter_lines():
                event = json.loads(line)["event"]
                if event == "error":
                    response.failure("error event")
                if event == "audio_chunk" and not heard_first_audio:
                    heard_first_audio = True
                    self._report_first_audio(1000 * (time.perf_counter() - start))
            response.success()

    def _report_first_audio(self, milliseconds: float) -> None:
        self.environment.events.request.fire(
            request_type="TURN",
            name="first audio",
            response_time=milliseconds,
            response_length=0,
            exception=None,
            context={},
        )
