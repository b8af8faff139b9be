"""Rules of the code: who may import whom, where metrics live, how a file opens, what is never loaded.

Run: `pytest tests/architecture`.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from inventorybot.__main__ import COMMANDS
from tests.architecture.files import ROOT, name, product_files, python_files, tree

LINTER = Path(sys.executable).with_name("lint-imports")
METRICS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's verdict on the contracts of a file."""
    arguments = [str(LINTER), "--config", str(config), "--no-cache"]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)


def test_every_import_contract_is_kept() -> None:
    done = lint_imports(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_linter_would_notice_a_broken_contract(tmp_path: Path) -> None:
    upside_down = tmp_path / "upside-down.toml"
    upside_down.write_text(
        '[tool.importlinter]\nroot_packages = ["inventorybot"]\n[[tool.importlinter.contracts]]\nname = "upside down"\n'
        'type = "layers"\nlayers = ["inventorybot.errors", "inventorybot.domain"]\n'
    )
    done = lint_imports(upside_down)
    assert done.returncode == 1
    assert "inventorybot.domain" in done.stdout


def test_the_contracts_cover_every_package_that_ships() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {p.relative_to(ROOT).parts[0] for p in product_files()}
    assert packages == set(config["tool"]["importlinter"]["root_packages"])


def test_metrics_are_declared_in_telemetry_alone() -> None:
    elsewhere = []
    for path in product_files():
        if name(path) == "inventorybot/telemetry.py":
            continue
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "prometheus_client":
                elsewhere += [f"{name(path)}:{node.lineno} {a.name}" for a in node.names if a.name in METRICS]
            elif isinstance(node, ast.Attribute) and ast.unparse(node) in {f"prometheus_client.{m}" for m in METRICS}:
                elsewhere.append(f"{name(path)}:{node.lineno} {node.attr}")
    assert elsewhere == []


def test_every_metric_has_our_prefix_and_says_what_it_is() -> None:
    declared = [
        node.value
        for node in tree(ROOT / "inventorybot" / "telemetry.py").body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if isinstance(node.value.func, ast.Name) and node.value.func.id in METRICS
    ]
    assert len(declared) >= 15
    for call in declared:
        first, second = (ast.literal_eval(a) for a in call.args[:2])
        assert first.startswith("inventorybot_")
        assert second


@pytest.mark.parametrize("path", python_files(), ids=name)
def test_a_file_opens_by_saying_what_it_is(path: Path) -> None:
    marker = path.name == "__init__.py" and path.relative_to(ROOT).parts[0] == "tests" and not path.stat().st_size
    assert marker or ast.get_docstring(tree(path)), "it needs a docstring: what comes in, what goes out, how to run it"


@pytest.mark.parametrize("path", product_files(), ids=name)
def test_nothing_that_ships_loads_what_can_run_code(path: Path) -> None:
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNSAFE]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module] if (node.module or "").split(".")[0] in UNSAFE else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "load_from_pickle"):
            safe = any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in node.keywords)
            found += [] if safe else [f"line {node.lineno}: torch.load without weights_only=True"]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            unsafe = any(k.arg == "allow_pickle" and getattr(k.value, "value", None) is True for k in node.keywords)
            found += [f"line {node.lineno}: numpy.load with allow_pickle"] if unsafe else []
    assert found == []


def test_the_domain_needs_the_standard_library_and_numpy_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "inventorybot"}
    for path in (ROOT / "inventorybot" / "domain").glob("*.py"):
        for node in ast.walk(tree(path)):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {m.split(".")[0] for m in modules} <= allowed, f"{name(path)} imports {modules}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_help_names_is_there(command: str) -> None:
    module, _, attribute = COMMANDS[command][0].partition(":")
    assert hasattr(importlib.import_module(module), attribute)
