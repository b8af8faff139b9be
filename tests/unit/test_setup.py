"""Set-up on a machine that is not as it should be: what is refused, and what is said.

In: nothing; no network, no server. Run: `pytest tests/unit/test_setup.py`.
"""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from inventorybot.errors import SetupError
from inventorybot.java import JKS_PASSWORD, key_store
from services.local import jars, java, setup
from services.local.cache import cache_root

JAR = jars.Jar("kafka", "org.example", "thing", "1.2", "", hashlib.sha256(b"right").hexdigest())


def test_the_lock_names_every_jar_once_with_a_checksum() -> None:
    lock = jars.read_lock()
    assert {jar.group for jar in lock} == {"kafka", "cassandra", "spark"}
    assert len({(jar.group, jar.file) for jar in lock}) == len(lock)
    assert all(len(jar.sha256) == 64 and int(jar.sha256, 16) for jar in lock)


def test_a_jar_with_another_checksum_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / JAR.file).write_bytes(b"wrong")
    wrong = jars.wrong_jars(tmp_path, [JAR])
    assert list(wrong) == ["thing-1.2.jar"]
    said = jars.explain(wrong, "", tmp_path)
    assert said.startswith("thing-1.2.jar has the checksum ")
    assert "so it was not installed" in said


def test_the_right_jar_is_accepted(tmp_path: Path) -> None:
    (tmp_path / JAR.file).write_bytes(b"right")
    assert jars.wrong_jars(tmp_path, [JAR]) == {}


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    said = jars.explain(jars.wrong_jars(tmp_path, [JAR]), "Server access error: UnknownHostException", tmp_path)
    assert "\n" not in said
    for advice in ("connect to the network", "make setup", "HTTPS_PROXY", "IVY_SETTINGS", f"copy {tmp_path / 'jars'}"):
        assert advice in said


def test_an_unknown_certificate_authority_points_at_the_variable_that_names_it(tmp_path: Path) -> None:
    said = jars.explain({"a.jar": "a.jar is missing"}, "SSLHandshakeException: PKIX path building failed", tmp_path)
    assert "SSL_CERT_FILE" in said


def test_a_full_disk_is_called_by_its_name(tmp_path: Path) -> None:
    said = jars.explain({"a.jar": "a.jar is missing"}, "java.io.IOException: No space left on device", tmp_path)
    assert said.startswith(f"The disk of {tmp_path} is full")


def test_jars_that_were_never_fetched_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INVENTORYBOT_CACHE", str(tmp_path))
    with pytest.raises(SetupError, match=r"^The jars of kafka are not on this machine yet: run `make setup`\.$"):
        jars.classpath("kafka")


def test_two_variants_of_one_module_are_asked_for_together() -> None:
    plain, native = (jars.Jar("cassandra", "o", "n", "1", variant, "") for variant in ("", "native"))
    module = jars.ivy_module("cassandra", [plain, native])
    assert module.count("<dependency ") == 1
    assert module.count("<artifact ") == 2
    assert 'm:classifier="native"' in module


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [("/a/b", "/x", "/a/b"), ("", "/x", "/x/inventorybot"), ("", "", "/home/me/.cache/inventorybot")],
)
def test_the_cache_is_where_the_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, own: str, xdg: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("INVENTORYBOT_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_root() == Path(expected)


def test_java_can_read_the_trust_store_that_we_write(tmp_path: Path) -> None:
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not certificates:
        pytest.skip("this machine trusts no certificate authority")
    store = tmp_path / "trusted.jks"
    store.write_bytes(key_store(certificates))
    keytool = java.find_java().resolve().with_name("keytool")
    listed = subprocess.run(
        [keytool, "-list", "-keystore", store, "-storetype", "JKS", "-storepass", JKS_PASSWORD],
        capture_output=True,
        text=True,
        timeout=60,  # it takes a second
        check=True,
    )
    assert listed.stdout.count("trustedCertEntry") == len(certificates)


def test_proxies_are_handed_to_java(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost,.example.org")
    assert java.proxy_options() == [
        "-Dhttps.proxyHost=proxy.example",
        "-Dhttps.proxyPort=3128",
        "-Dhttp.nonProxyHosts=localhost|*.example.org",
    ]


def test_an_old_python_is_told_which_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(setup.CannotSetUp, match=r"^Python 3\.9 is too old: install 3\.11 or later"):
        setup.check_python()


def test_a_python_without_virtual_environments_is_told_which_package_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(setup.CannotSetUp, match=r"no `ensurepip`: install .*python3-venv"):
        setup.check_python()


def test_packages_that_cannot_be_fetched_are_explained_in_one_sentence() -> None:
    said = setup.why_not_installed()
    assert "\n" not in said
    for advice in ("connect to the network", "goes on where it stopped", "PIP_INDEX_URL", str(cache_root())):
        assert advice in said
