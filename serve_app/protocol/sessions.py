"""Wire models of remembered dialogues."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.messages import Role, Session

SESSION_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class MessageOut(_Out):
    """One side of a turn, as the model knows it."""

    role: Role
    content: str


class SessionOut(_Out):
    """A remembered dialogue, oldest message first; times are Unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "kitchen-7",
                    "object": "session",
                    "created_at": 1795345200,
                    "updated_at": 1795345260,
                    "messages": [
                        {"role": "user", "content": "What is the capital of France?"},
                        {"role": "assistant", "content": "The capital of France is Paris."},
                    ],
                }
            ]
        }
    )

    id: str
    object: Literal["session"] = "session"
    created_at: int
    updated_at: int = Field(description="When the last turn was added.")
    messages: list[MessageOut]

    @classmethod
    def of(cls, session: Session) -> "SessionOut":
        """The wire form of a session."""
        return cls(
            id=session.id,
            created_at=int(session.created_at),
            updated_at=int(session.updated_at),
            messages=[MessageOut(role=m.role, content=m.content) for m in session.messages],
        )


class SessionDeletedOut(_Out):
    """A dialogue that is forgotten."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": "kitchen-7", "object": "session.deleted", "deleted": True}]
        }
    )

    id: str
    object: Literal["session.deleted"] = "session.deleted"
    deleted: bool = True
