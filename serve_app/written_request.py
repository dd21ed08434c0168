"""A text to answer -> what the model is asked."""

from deployments.errors import TextTooLong
from deployments.messages import ChatMessage, GenerationRequest, Origin
from serve_app.caller import Caller
from serve_app.protocol.gemmavoice import GenerationBody
from serve_app.sampling import sampling_of
from serve_app.services import Services


def written_request(body: GenerationBody, services: Services, caller: Caller) -> GenerationRequest:
    """A prompt, within the limits.

    Raises:
        TextTooLong: it is not.
    """
    settings = services.settings
    system = settings.prompts.written if body.system_prompt is None else body.system_prompt
    for name, text in (("prompt", body.prompt), ("system_prompt", system)):
        if len(text) > settings.limits.max_prompt_chars:
            raise TextTooLong(name, len(text), settings.limits.max_prompt_chars)
    messages = [ChatMessage("system", system)] if system else []
    # Replaced, not formatted: a prompt may hold braces.
    user = settings.prompts.written_template.replace("{prompt}", body.prompt)
    return GenerationRequest(
        (*messages, ChatMessage("user", user)),
        sampling_of(body, settings.written_sampling),
        origin=Origin(caller.owner),
    )
