"""Writes docs/openapi.json, the API's description with the default settings; a test holds the two together."""

import json
import sys
from pathlib import Path

from configs.settings import AppSettings
from serve_app.api import bare_api

TARGET = Path(__file__).parent.parent / "docs" / "openapi.json"


def write() -> str:
    """The whole document, the same on every machine."""
    document = bare_api(AppSettings()).openapi()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(write(), encoding="utf-8")
    sys.stdout.write(f"wrote {TARGET.name}\n")
