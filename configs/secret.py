"""Text that Serve may carry, and must not log."""


class Secret(str):
    """A text whose `repr` does not show it: Serve logs the arguments of an application."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"
