"""The speaker that the model is where no recording is its voice: the same one at every start."""

import threading

import torch
from torch import Tensor

from deployments.tts.openaudio.slots import Choice
from deployments.tts.openaudio.speaker import Sequence, Speaker
from deployments.tts.openaudio.words import Words

OWN_WORDS = "Good morning. I read your words aloud, calmly and in a clear voice."
_SEEDS = range(2)
_LEAST_FRAMES = 21  # a second: below, the words cannot all be in it


def own_codes(speaker: Speaker, words: Words, device: torch.device, most: int) -> Tensor | None:
    """Codes [codebooks, frames] of the first speaker that says `OWN_WORDS` to their end.

    Without a reference each seed is another speaker. None where no seed made fewer frames than `most`,
    where it is cut off, and so many that it is speech.

    Raises:
        StageFailed: the model broke.
    """
    prompt = words.prompt(OWN_WORDS)
    for seed in _SEEDS:
        generator = torch.Generator(device).manual_seed(seed)
        # Not the configured choice: tuning it must not change who speaks.
        sequence = Sequence(prompt, most, Choice(), generator, threading.Event())
        frames = list(speaker.speak(sequence))
        if _LEAST_FRAMES <= len(frames) < most:
            return torch.tensor(frames).T
    return None
