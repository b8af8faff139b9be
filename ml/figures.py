"""Figures and pictures inside a page that needs no other file.

In: a matplotlib figure; encoded pictures. Out: an SVG element; a data URI for `src`.
"""

from __future__ import annotations

import base64
import io

from matplotlib import rc_context
from matplotlib.figure import Figure


def svg(figure: Figure) -> str:
    """A figure as an SVG element; the same bytes each time."""
    out = io.StringIO()
    with rc_context({"svg.hashsalt": "inventorybot"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def data_uri(picture: bytes, kind: str) -> str:
    """Encoded bytes as a data URI. Args: kind: jpeg or png."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
