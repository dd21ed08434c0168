"""The models that the ingress itself runs: whether somebody speaks, and sounds finished."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from configs.settings import LiveSettings
from deployments.audio import Pcm
from serve_app.hearing.smart_turn import SmartTurn
from serve_app.hearing.voice_activity import SileroModel


class Ears:
    """One of each model in a replica; a stage would cost more than the frame.

    Raises:
        WeightsNotFound: a package that carries a model is not whole.
    """

    def __init__(self, settings: LiveSettings) -> None:
        self.voice = SileroModel.load()
        self._turn = SmartTurn.load() if settings.smart_turn else None
        self._executor = ThreadPoolExecutor(settings.smart_turn_threads, "smart-turn")

    @property
    def judges_sound(self) -> bool:
        """Whether there is a model that judges by the sound."""
        return self._turn is not None

    async def sounds_finished(self, audio: Pcm) -> float:
        """The probability that the speaker of this audio (16 kHz) has finished."""
        if self._turn is None:
            return 1.0
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._turn.probability, audio.samples)

    def close(self) -> None:
        """End its threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)
