"""Writes a conversation as the prompt a model was trained on, by the model's own Jinja template.

A template comes with a model file and is not trusted: it runs in Jinja's sandbox. What people say
is not trusted either: it is put in after the rendering, and marked, so that the tokenizer can tell
it from the template's control tokens.
"""

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

import jinja2
from jinja2.ext import Extension
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployments.errors import InvalidParameter, InvalidSetting
from deployments.llm.conversation import fold_system, merge_turns, start_with_user
from deployments.messages import ChatMessage, Role

CHAT_TEMPLATE_KEY = "llm.chat_template"
_RENDER_LIMIT_S = 2.0
_RENDER_LIMIT_CHARS = 1_000_000


@dataclass(frozen=True, slots=True)
class PromptPart:
    """A stretch of a prompt: the template's text, or what somebody said."""

    text: str
    is_content: bool


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A Jinja chat template, and what a reply to it needs.

    Attributes:
        text: The template.
        control: Tokens that the model must have for it.
        stop: Stop strings of every reply.
        strip_start: Whether a reply begins with a space that is not part of it.
    """

    text: str
    control: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    strip_start: bool = False


class TemplateRefusal(Exception):
    """The template failed, or refused a conversation, or took too much time or space."""


class ChatTemplate:
    """One template, ready to render.

    Raises:
        InvalidSetting: the template does not work, or drops what the user says.
    """

    def __init__(self, source: TemplateSource, bos: str, eos: str) -> None:
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _environment().from_string(source.text)
            if not self._keeps("user"):
                _refuse("it drops what the user says")
        except (jinja2.TemplateError, TemplateRefusal, RecursionError) as error:
            raise InvalidSetting(CHAT_TEMPLATE_KEY, f"the chat template fails: {error}") from None
        self._system = self._accepts("system", "user")
        self._assistant_first = self._accepts("assistant", "user")

    def render(self, messages: Sequence[ChatMessage]) -> list[PromptPart]:
        """The prompt that asks for the assistant's next turn.

        Raises:
            InvalidParameter: the template refuses this conversation.
        """
        turns = merge_turns(messages)
        if not self._system:
            turns = fold_system(turns)
        if not self._assistant_first:
            turns = start_with_user(turns)
        if not turns:
            raise InvalidParameter("messages", "there is no message")
        try:
            return self._parts(turns)
        except TemplateRefusal:
            raise InvalidParameter(
                "messages", "the model's chat template refuses this conversation"
            ) from None

    def _parts(self, turns: Sequence[ChatMessage]) -> list[PromptPart]:
        nonce = str(secrets.randbits(128))
        contents: list[str] = []
        marked: list[dict[str, str]] = []
        for turn in turns:
            core = turn.content.strip()
            mark = ""
            if core:
                mark = f"{nonce}-{len(contents)}-"
                contents.append(core)
            # The spaces around stay outside of the mark: templates trim them, or do not.
            lead, _, tail = turn.content.partition(core) if core else (turn.content, "", "")
            marked.append({"role": turn.role, "content": lead + mark + tail})
        pieces = re.split(rf"{nonce}-(\d+)-", self._rendered(marked))
        return [
            PromptPart(contents[int(piece)] if index % 2 else piece, is_content=bool(index % 2))
            for index, piece in enumerate(pieces)
            if piece
        ]

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        deadline = time.perf_counter() + _RENDER_LIMIT_S
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(
                messages=messages,
                add_generation_prompt=True,
                tools=None,
                raise_exception=_refuse,
                strftime_now=_strftime_now,
                **self._tokens,
            ):
                pieces.append(piece)
                size += len(piece)
                if size > _RENDER_LIMIT_CHARS or time.perf_counter() > deadline:
                    _refuse("it writes too much")
        except Exception as error:
            raise TemplateRefusal(str(error)[:200] or type(error).__name__) from error
        return "".join(pieces)

    def _accepts(self, *roles: Role) -> bool:
        try:
            return self._keeps(*roles)
        except TemplateRefusal:
            return False

    def _keeps(self, *roles: Role) -> bool:
        """Whether a conversation of these roles is rendered with all that is said in it."""
        turns = [ChatMessage(role, f"probe {index}") for index, role in enumerate(roles)]
        said = [part.text for part in self._parts(turns) if part.is_content]
        return said == [turn.content for turn in turns]


class _GenerationTag(Extension):
    """`{% generation %}` marks training data; its contents are rendered as they are."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """The sandbox, with what Transformers offers to chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = _to_json
    return environment


def _refuse(reason: str) -> NoReturn:
    raise TemplateRefusal(reason)


def _strftime_now(pattern: str) -> str:
    return datetime.now(UTC).astimezone().strftime(pattern)


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def choose_template(choice: str, metadata: Mapping[str, str]) -> TemplateSource:
    """The template for a setting's value; 'auto' takes the file's own, else a plain transcript."""
    own = metadata.get("tokenizer.chat_template")
    if choice == "auto":
        return TemplateSource(own) if own else BUILT_IN["plain"]
    return BUILT_IN[choice]


BUILT_IN = {
    "chatml": TemplateSource(
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
        "{% endfor %}{{ '<|im_start|>assistant\\n' }}",
        control=("<|im_start|>", "<|im_end|>"),
    ),
    "gemma3": TemplateSource(
        "{{ bos_token }}"
        "{% for message in messages %}"
        "{% if message['role'] == 'system' or (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
        "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
        "{% endfor %}{{ '<start_of_turn>model\\n' }}",
        control=("<start_of_turn>", "<end_of_turn>"),
    ),
    "plain": TemplateSource(
        "{% for message in messages %}"
        "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
        "{% else %}{{ message['role'] | title + ': ' + message['content'] + '\\n' }}{% endif %}"
        "{% endfor %}{{ 'Assistant:' }}",
        stop=("\nUser:", "\nAssistant:", "\nSystem:"),
        strip_start=True,
    ),
}
