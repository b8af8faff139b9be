"""Where this machine keeps what set-up has fetched, for every clone on it.

In: INVENTORYBOT_CACHE, XDG_CACHE_HOME. Out: a folder. The standard library is all it needs: set-up begins with it.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """INVENTORYBOT_CACHE, else XDG_CACHE_HOME/inventorybot, else ~/.cache/inventorybot; it need not exist."""
    own = os.environ.get("INVENTORYBOT_CACHE")
    base = own or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "inventorybot")
    return Path(os.path.abspath(os.path.expanduser(base)))
