"""The user's side of a conversation: when they speak, pause, and have finished.

`Quiet` -> `Talking` -> `Pausing` -> `Talking` (they go on) or `Quiet` (they have finished). While they
pause, the utterance is transcribed, and a reply is drafted if it looks finished; when they go on all of
that is dropped.
"""

import asyncio
import logging
import time
from typing import Protocol

from deployments.audio import BYTES_PER_SAMPLE, WHISPER_SAMPLE_RATE
from deployments.errors import AudioTooLong, NothingToCommit, SpeechError
from deployments.messages import TranscriptionRequest
from deployments.tracing import enter, start_span
from serve_app.hearing.backchannel import is_backchannel
from serve_app.hearing.ear import Ear, windows
from serve_app.hearing.endpointing import Paused, Resumed, SpeechBegan, required_silence_ms
from serve_app.hearing.finished_words import looks_finished
from serve_app.hearing.window import SAMPLES_PER_MS
from serve_app.live.config import LiveConfig, TurnTaking
from serve_app.live.events import (
    Committed,
    PartialTranscript,
    SpeechStarted,
    SpeechStopped,
    Transcribed,
    TranscriptionFailed,
)
from serve_app.live.items import Conversation, Message, Part, new_id
from serve_app.live.ports import LiveContext
from serve_app.live.tasks import Tasks
from serve_app.live.turn_trace import TURN, end_unanswered
from serve_app.live.utterance import Guess, Pausing, Quiet, Talking, UserState, Utterance

logger = logging.getLogger("ray.serve")

SHORTEST_COMMIT_MS = 100
_UNSURE_MS = 300  # of silence before a pause that sounds unfinished is transcribed
_TICK_S = 0.03
_FIRST_HEARING_S = 0.5


class Floor(Protocol):
    """The assistant's side, as the user's side sees it."""

    @property
    def conversation(self) -> Conversation:
        """What was said so far."""
        ...

    @property
    def is_heard(self) -> bool:
        """Whether a reply can be heard now."""
        ...

    def yield_floor(self) -> None:
        """The user speaks: a reply that is given stops, if it may."""
        ...

    def warm(self) -> None:
        """The user begins to speak."""
        ...

    def draft(self, guess: Guess) -> None:
        """Begin the reply to an utterance that may be finished."""
        ...

    def drop(self, guess: Guess) -> None:
        """The reply to it is not wanted."""
        ...

    def answer(self, guess: Guess) -> None:
        """The utterance is finished and heard: give the reply."""
        ...

    def pay(self) -> None:
        """The user says nothing, and nothing came of what they said: a reply may be owed."""
        ...


class Listener:
    """Hears one user. Every step is synchronous; what takes time runs in a task and then takes a step."""

    def __init__(
        self,
        context: LiveContext,
        ear: Ear,
        config: LiveConfig,
        floor: Floor,
        tasks: Tasks,
    ) -> None:
        self._stages, self._bounds = context.stages, context.bounds
        self._emit, self._observer = context.emit, context.observer
        self._ear, self._config, self._floor, self._tasks = ear, config, floor, tasks
        self._user: UserState = Quiet()
        self._held_from = 0  # the first sample that the client has not committed
        self._heard_at = time.perf_counter()
        self.active_at = self._heard_at
        self._hearing_s = _FIRST_HEARING_S  # what one transcription takes, by the last one
        self._unheard: dict[str, asyncio.Event] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether the user says nothing, and everything they said is heard."""
        return isinstance(self._user, Quiet) and not self._unheard

    @property
    def is_talking(self) -> bool:
        """Whether the client knows that the user speaks; they may pause."""
        match self._user:
            case Talking(utterance=utterance):
                return utterance.announced
            case Pausing(guess=guess):
                return guess.utterance.announced
            case Quiet():
                return False

    @property
    def position_ms(self) -> int:
        """How much audio has come."""
        return self._ear.position // SAMPLES_PER_MS

    def configure(self, config: LiveConfig) -> None:
        """Change how to listen, from the next sample on."""
        was, self._config = self._config, config
        taking = config.turn_taking
        if (taking is None) != (was.turn_taking is None):
            self.clear()
        if taking is not None:
            self._ear.configure(taking.endpointing)

    def hear(self, samples: bytes) -> None:
        """Take audio: 16 kHz mono, 16 bit.

        Raises:
            AudioTooLong: the client commits, and has not done so for too long. The audio is not kept.
        """
        self._heard_at = time.perf_counter()
        if self._config.turn_taking is None:
            self._hold(samples)
            return
        for window in windows(samples):
            for event in self._ear.hear(window):
                match event:
                    case SpeechBegan(start_sample=start):
                        self._begin(start)
                    case Paused(end_sample=end):
                        self._pause(end)
                    case Resumed():
                        self._resume()
            self._consider()

    def _hold(self, samples: bytes) -> None:
        held = self._ear.position - self._held_from + len(samples) // BYTES_PER_SAMPLE
        if held > self._longest:
            raise AudioTooLong(self._bounds.max_utterance_s)
        self._ear.hold(samples)

    def commit(self) -> None:
        """The client says that the user has finished.

        Raises:
            NothingToCommit: there is too little audio.
        """
        match self._user:
            case Pausing(guess=guess):
                if not guess.utterance.announced:
                    self._announce(guess.utterance)
                self._finish(guess)
                return
            case Talking(utterance=utterance):
                start = utterance.start
                if not utterance.announced:
                    self._announce(utterance)
            case Quiet():
                utterance = Utterance(new_id("item"), self._held_from, announced=True)
                manual = self._config.turn_taking is None
                start = self._held_from if manual else self._ear.position
        held_ms = (self._ear.position - start) // SAMPLES_PER_MS
        if held_ms < SHORTEST_COMMIT_MS:
            raise NothingToCommit(held_ms, SHORTEST_COMMIT_MS)
        guess = self._guess(utterance, self._ear.position)
        self._finish(guess, stopped=isinstance(self._user, Talking))

    def clear(self) -> None:
        """Forget what was not committed."""
        match self._user:
            case Pausing(guess=guess):
                self._abandon(guess)
                self._break_off(guess.utterance)
            case Talking(utterance=utterance):
                self._break_off(utterance)
            case Quiet():
                pass
        self._quieten()
        self._floor.pay()

    async def all_heard(self) -> None:
        """Return when no utterance is still being transcribed."""
        for heard in list(self._unheard.values()):
            await heard.wait()

    def tick(self) -> None:
        """Time has passed, perhaps without any audio."""
        self._consider()

    def _break_off(self, utterance: Utterance) -> None:
        self._end_partials(utterance)
        if utterance.announced:
            self._emit(SpeechStopped(utterance.id, self.position_ms))

    # ---- the steps ----

    @property
    def _taking(self) -> TurnTaking:
        assert self._config.turn_taking is not None  # noqa: S101 - without it nothing is detected
        return self._config.turn_taking

    def _begin(self, start: int) -> None:
        self._user = Talking(Utterance(new_id("item"), start))
        self._floor.warm()

    def _announce(self, utterance: Utterance) -> None:
        """It is sure that the user speaks."""
        utterance.announced = True
        self._emit(SpeechStarted(utterance.id, utterance.start // SAMPLES_PER_MS))
        if self._floor.is_heard:
            self._observer.interrupted(really=True)
        self._floor.yield_floor()
        if self._config.partials:
            utterance.partials = self._tasks.spawn(self._show(utterance), "partials")

    def _pause(self, end: int) -> None:
        if isinstance(self._user, Talking):
            self._user = Pausing(self._guess(self._user.utterance, end))

    def _guess(self, utterance: Utterance, end: int) -> Guess:
        silence_s = self._ear.silence_ms / 1000 if self._config.turn_taking else 0.0
        audio = self._ear.utterance(utterance.start, end)
        trace = start_span(TURN, ago_s=silence_s)
        guess = Guess(utterance, audio, end, time.perf_counter() - silence_s, trace)
        guess.task = self._tasks.spawn(self._work_out(guess), "guess")
        return guess

    def _resume(self) -> None:
        if isinstance(self._user, Pausing):
            self._abandon(self._user.guess)
            self._user = Talking(self._user.guess.utterance)

    def _abandon(self, guess: Guess) -> None:
        """The user goes on, or said nothing: what was worked out is of no use."""
        if guess.task is not None:
            guess.task.cancel()
        if guess.transcript is not None:
            self._observer.guessed("transcript", useful=False, tokens=0)
        self._floor.drop(guess)
        end_unanswered(guess.trace, "abandoned")

    def _consider(self) -> None:
        """Take the step that what is known now asks for."""
        match self._user:
            case Quiet():
                pass
            case Talking(utterance=utterance):
                self._consider_talk(utterance)
            case Pausing(guess=guess):
                self.active_at = time.perf_counter()
                is_speech = guess.utterance.announced or self._is_speech(guess)
                if is_speech and self._silence_ms() >= self._needed_ms(guess):
                    self._finish(guess)

    def _consider_talk(self, utterance: Utterance) -> None:
        self.active_at = time.perf_counter()
        if not utterance.announced:
            lasts = self._ear.voiced_ms >= self._taking.interrupt_after_ms
            if lasts or not self._floor.is_heard:
                self._announce(utterance)
        elif (
            self._ear.position - utterance.start >= self._longest
            or self._silence_ms() >= self._taking.endpointing.unheard_ms  # no audio comes any more
        ):
            self._finish(self._guess(utterance, self._ear.position))

    @property
    def _longest(self) -> int:
        return round(self._bounds.max_utterance_s * WHISPER_SAMPLE_RATE)

    def _is_speech(self, guess: Guess) -> bool:
        """Whether a short sound while a reply is heard is one that stops the reply."""
        if self._floor.is_heard:
            if guess.error is not None:
                self._dismiss(guess)
                return False
            if guess.transcript is None:
                return False
            if is_backchannel(guess.transcript.text):
                self._dismiss(guess)
                return False
        self._announce(guess.utterance)
        self._draft(guess)
        return True

    def _dismiss(self, guess: Guess) -> None:
        """It was a cough, or a "hmm"."""
        self._observer.interrupted(really=False)
        self._abandon(guess)
        self._quieten()
        self._floor.pay()

    def _silence_ms(self) -> float:
        """How long the user has said nothing; audio that does not come is silence too."""
        return self._ear.silence_ms + (time.perf_counter() - self._heard_at) * 1000

    def _needed_ms(self, guess: Guess) -> int:
        endpointing = self._taking.endpointing
        if not self._taking.judges:
            return endpointing.silence_ms
        words = None
        if guess.transcript is not None:
            words = looks_finished(guess.transcript.text)
        elif guess.error is not None:
            words = True
        sounds = guess.sounds_finished if self._stages.sounds_finished else True
        needed_ms = required_silence_ms(endpointing, sounds, words)
        if guess.draft is not None and not guess.draft.is_ready:
            # Nothing can be said yet, so that it costs nothing to listen for longer.
            return max(needed_ms, endpointing.unfinished_ms)
        return needed_ms

    def _finish(self, guess: Guess, *, stopped: bool = True) -> None:
        """The user has finished: the utterance becomes an item."""
        utterance = guess.utterance
        guess.endpoint_s = time.perf_counter() - guess.paused_at
        self._end_partials(utterance)
        self._quieten()
        message = guess.message = Message(utterance.id, "user", [Part(None, spoken=True)])
        if stopped:
            self._emit(SpeechStopped(utterance.id, guess.end // SAMPLES_PER_MS))
        unchanged = guess.draft_version == self._floor.conversation.version
        previous = self._floor.conversation.add(message)
        if unchanged:
            guess.draft_version = self._floor.conversation.version
        self._emit(Committed(message, previous))
        self._unheard[message.id] = asyncio.Event()
        if guess.is_worked_out:
            self._conclude(guess)

    def _conclude(self, guess: Guess) -> None:
        """A finished utterance is heard."""
        message = guess.message
        if message is None:
            return
        self._unheard.pop(message.id).set()
        if guess.error is not None:
            self._emit(TranscriptionFailed(message, guess.error))
            guess.trace.end(guess.error.code)
            self._floor.pay()
            return
        assert guess.transcript is not None  # noqa: S101 - it is worked out
        self._observer.guessed("transcript", useful=True, tokens=0)
        message.parts[0].text = guess.transcript.text
        self._show_rest(guess.utterance, guess.transcript.text)
        self._emit(Transcribed(message, guess.transcript))
        self._floor.answer(guess)

    def _quieten(self) -> None:
        self._user = Quiet()
        self._ear.finish()
        self._held_from = self._ear.position
        self.active_at = time.perf_counter()

    # ---- what takes time ----

    async def _work_out(self, guess: Guess) -> None:
        """Hear what was said so far, and draft the reply if it looks finished."""
        enter(guess.trace)
        if guess.message is None and self._config.turn_taking is not None and self._taking.judges:
            await self._listen_to_sound(guess)
        await self._transcribe(guess)
        guess.transcript_s = time.perf_counter() - guess.paused_at
        if guess.message is not None:
            self._conclude(guess)
            return
        if guess.transcript is not None and guess.utterance.announced:
            self._show_words(guess)
        self._draft(guess)
        self._consider()

    async def _transcribe(self, guess: Guess) -> None:
        began = time.perf_counter()
        try:
            guess.transcript = await self._stages.stt.transcribe(self._request(guess))
        except SpeechError as error:
            guess.error = error
        except Exception:
            logger.exception("an utterance was not heard")
            guess.error = SpeechError()
        self._hearing_s = time.perf_counter() - began

    async def _listen_to_sound(self, guess: Guess) -> None:
        if self._stages.sounds_finished is None:
            return
        try:
            probability = await self._stages.sounds_finished(guess.audio)
        except Exception:
            logger.exception("an utterance was not judged by its sound")
            return
        guess.sounds_finished = probability >= self._bounds.finished_probability
        if not guess.sounds_finished:
            # Most such pauses end soon: the words are worth hearing only if this one does not.
            while self._is_unsure(guess):  # noqa: ASYNC110 - what ends it is time, no event
                await asyncio.sleep(_TICK_S)

    def _is_unsure(self, guess: Guess) -> bool:
        return guess.message is None and self._silence_ms() < _UNSURE_MS

    def _draft(self, guess: Guess) -> None:
        transcript = guess.transcript
        if transcript is None or guess.draft is not None or not guess.utterance.announced:
            return
        taking = self._config.turn_taking
        if taking is None or not (taking.creates_reply and self._config.replies):
            return
        finished = guess.sounds_finished is not False and looks_finished(transcript.text)
        if transcript.text and (finished or not taking.judges):
            self._floor.draft(guess)
            if guess.draft is not None:
                guess.draft.when_ready = self._consider

    def _request(self, guess: Guess) -> TranscriptionRequest:
        config = self._config
        return TranscriptionRequest(
            guess.audio,
            language=config.language,
            languages=config.languages,
            prompt=config.hints,
            keywords=config.keywords,
        )

    # ---- words while they are said ----

    async def _show(self, utterance: Utterance) -> None:
        """Tell the words while they are said, as far as they will stay."""
        bounds = self._bounds
        shown = 0
        while True:
            # A transcription cannot be broken off, and the last one is waited for.
            await asyncio.sleep(
                max(bounds.partial_interval_s, self._hearing_s * (1 / bounds.partial_share - 1))
            )
            end = self._ear.position
            if not isinstance(self._user, Talking) or end == shown:
                continue
            shown = end
            audio = self._ear.utterance(utterance.start, end)
            so_far = Guess(utterance, audio, end, time.perf_counter())
            await self._transcribe(so_far)
            self._show_words(so_far)

    def _show_words(self, guess: Guess) -> None:
        """Tell the words that two hearings agree on."""
        if guess.transcript is None or not self._config.partials:
            return
        utterance = guess.utterance
        if delta := utterance.words.update(guess.transcript.text.split()):
            delta = f" {delta}" if utterance.shown else delta
            utterance.shown += delta
            self._emit(PartialTranscript(utterance.id, delta, utterance.words.tail))

    def _show_rest(self, utterance: Utterance, text: str) -> None:
        if text.startswith(utterance.shown) and (rest := text[len(utterance.shown) :]):
            self._emit(PartialTranscript(utterance.id, rest))

    def _end_partials(self, utterance: Utterance) -> None:
        if utterance.partials is not None:
            utterance.partials.cancel()
