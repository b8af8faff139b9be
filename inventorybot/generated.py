"""Files that are generated from the code and committed: written by hand-run commands, held up to date by a test."""

from __future__ import annotations

import sys
from pathlib import Path


def write_or_check(path: Path, text: str, command: str, arguments: list[str]) -> int:
    """Write the file, or with --check compare it; returns the exit status: 1 where it is out of date.

    Args:
        command: what regenerates it, for the message.
    """
    if "--check" not in arguments:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} is out of date: run `{command}`", file=sys.stderr)
    return 1
