"""The Java of the embedded parts: found as inventorybot.java finds it, with the certificates that this machine trusts.

In: SSL_CERT_FILE, the proxies' variables. Out: JVM options. Try: `python -m services.local.java`.
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.parse
import urllib.request
from pathlib import Path

from inventorybot.java import JKS_PASSWORD, find_java, java_env, key_store, major_version, packaged_java

__all__ = ["find_java", "java_env", "major_version", "network_options", "packaged_java", "proxy_options"]


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


if __name__ == "__main__":
    print(find_java())
