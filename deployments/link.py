"""What ties the log lines and the spans of one request together, wherever they are written.

It goes with a request from the ingress to the stages, as a field of the messages.
"""

import hashlib
from contextvars import ContextVar
from dataclasses import dataclass, replace

_SESSION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Link:
    """One request: its id, its session's mark, and (W3C `traceparent`) the span that it is in.

    What is empty is not known, or not recorded.
    """

    request_id: str = ""
    session: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Writer:
    """Which process writes; `replica` is the id that Serve gave it."""

    deployment: str
    application: str = ""
    replica: str = ""


@dataclass(slots=True)
class Marks:
    """What a request came to be about while it was served, for the line at its end."""

    session: str = ""


_NONE = Link()
_marks: ContextVar[Marks | None] = ContextVar("gemmavoice_marks", default=None)
_current: ContextVar[Link] = ContextVar("gemmavoice_link", default=_NONE)


def current_link() -> Link:
    """The link of the request that this task, or thread of an engine, works for."""
    return _current.get()


def follow(link: Link) -> None:
    """From now on this task, and those that it starts, work for this request."""
    _current.set(link)


def begin_request(link: Link) -> Marks:
    """From now on this task serves this request; what is noted of it, by its tasks too."""
    marks = Marks()
    _current.set(link)
    _marks.set(marks)
    return marks


def note_session(session_id: str | None) -> None:
    """From now on this task works for this dialogue."""
    if not session_id:
        return
    mark = session_mark(session_id)
    _current.set(replace(_current.get(), session=mark))
    if marks := _marks.get():
        marks.session = mark


def session_mark(session_id: str) -> str:
    """A session in a log: the same for the same session. The id itself would let a reader in."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:_SESSION_DIGITS]
