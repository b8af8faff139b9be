"""Which files the project consists of. In: the repository. Out: paths and syntax trees."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("inventorybot", "services", "streaming", "ml")
BINARY = frozenset({".jpg", ".jpeg", ".png", ".safetensors", ".parquet", ".zip", ".xz", ".gz", ".ico", ".npz", ".whl"})


@cache
def all_files() -> tuple[Path, ...]:
    """Every file that is committed or about to be; in a tree without git, every file outside hidden folders."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        found = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        found = [p for p in ROOT.rglob("*") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)]
    return tuple(sorted(p for p in found if p.is_file() and not p.is_symlink()))


@cache
def text_files() -> tuple[Path, ...]:
    """Those that hold text."""
    return tuple(p for p in all_files() if p.suffix not in BINARY and b"\0" not in p.read_bytes()[:4096])


@cache
def python_files() -> tuple[Path, ...]:
    """Those that hold Python."""
    return tuple(p for p in all_files() if p.suffix == ".py")


def product_files() -> list[Path]:
    """Python that ships: the packages, without tests and benchmarks."""
    return [p for p in python_files() if p.relative_to(ROOT).parts[0] in PACKAGES]


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def name(path: Path) -> str:
    """A path as people write it."""
    return path.relative_to(ROOT).as_posix()
