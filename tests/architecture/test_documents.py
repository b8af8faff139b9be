"""Rules of the documents: what is generated is up to date, what exists is described, and no machine shows through.

Run: `pytest tests/architecture/test_documents.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from inventorybot import settings_doc
from inventorybot.adapters.cassandra.migrations import STEPS
from inventorybot.errors import Code
from inventorybot.settings import Settings
from inventorybot.wire import schemas
from inventorybot.wire.topics import TOPICS
from tests.architecture.files import ROOT, name, text_files

DOCS = ROOT / "docs"
TABLES = [re.match(r"\s*CREATE TABLE (\w+)", statement)[1] for step in STEPS for statement in step]  # type: ignore[index]
_MACHINE = re.compile(
    "|".join(("/work" + "/(?:main|shared)", "/root" + "/", "/home" + r"/(?!me\b)[a-z]", "/Users" + "/[A-Za-z]"))
)
_HOSTS = re.compile(
    r"registry\.npm" + r"js|files\.python" + r"hosted|pypi\." + r"org/simple|repo1?\.mav" + r"en|proxy\.gol" + r"ang"
)
_CONFIGURED = ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "NPM_CONFIG_REGISTRY", "npm_config_registry", "GOPROXY",
               "HTTPS_PROXY", "https_proxy")  # fmt: skip
"""Where this machine may name a mirror of a registry: no file may repeat it."""


def document(path: str) -> str:
    return (DOCS / path).read_text(encoding="utf-8")


def test_the_page_of_settings_is_what_the_code_says() -> None:
    assert settings_doc.main(["--check"]) == 0, "run `python -m inventorybot.settings_doc`"


@pytest.mark.parametrize("setting", Settings.model_fields)
def test_every_setting_says_what_it_is(setting: str) -> None:
    words = settings_doc.meaning(setting, Settings.model_fields[setting])
    assert words, "give the field a description in settings.py"
    assert f"`INVENTORYBOT_{setting.upper()}`" in document("settings.md")


@pytest.mark.parametrize("topic", [t.name for t in TOPICS])
def test_every_topic_is_described(topic: str) -> None:
    assert f"`{topic}`" in document("events.md")
    assert topic in document("asyncapi.json")


@pytest.mark.parametrize("event_type", sorted(schemas.DATA))
def test_every_event_type_is_described(event_type: str) -> None:
    assert f"`{event_type}`" in document("events.md")


@pytest.mark.parametrize("code", list(Code))
def test_every_refusal_code_is_described(code: Code) -> None:
    assert f"| `{code}` |" in document("events.md")


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_described(table: str) -> None:
    assert f"## `{table}`" in document("cassandra.md")


def test_every_link_between_documents_leads_somewhere() -> None:
    pages = [p for p in text_files() if p.suffix == ".md"]
    assert pages
    for page in pages:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name(page)} links to {target}"


def test_every_document_that_the_code_speaks_of_exists() -> None:
    for path in text_files():
        if path.suffix in (".py", ".yaml", ".toml", ".md"):
            for target in re.findall(r"\bdocs/[\w./-]+\.(?:md|json)\b", path.read_text(encoding="utf-8")):
                assert (ROOT / target).exists(), f"{name(path)} speaks of {target}"


@pytest.mark.parametrize("path", text_files(), ids=name)
def test_no_file_names_a_path_of_a_machine_or_the_host_of_a_registry(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    found = [m[0] for pattern in (_MACHINE, _HOSTS) for m in pattern.finditer(text)]
    mirrors = {urlsplit(url).hostname for v in _CONFIGURED for url in os.environ.get(v, "").split(",")}
    found += [host for host in mirrors if host and host not in ("localhost", "127.0.0.1") and host in text]
    assert found == []
