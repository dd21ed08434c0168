"""The path that routing sees."""

from starlette.types import Scope


def route_path(scope: Scope) -> str:
    """The path below the application's prefix.

    Never from the URL: a Host header can poison that (CVE-2026-48710).
    """
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    below = path.removeprefix(root)
    return below if below == "" or below.startswith("/") else path
