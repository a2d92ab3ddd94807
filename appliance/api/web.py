"""Our own pages, until the dashboard takes their place.

Invariant: a page loads nothing from anywhere but here; the policy names the hash of each inline
piece, so nothing else runs. Pages hold nothing secret.
"""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from appliance.api.protocols import Answer, Headers

_FOLDER: Final = Path(__file__).parents[1] / "web"
_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def pages() -> dict[str, Answer]:
    """Every page by its path; read once at start."""
    index = (_FOLDER / "index.html").read_text(encoding="utf-8")
    return {"/": page(index)}


def page(html: str) -> Answer:
    """A page of ours, with the policy that lets nothing but its own pieces run."""
    return Answer(status=200, headers=_headers(html), body=html.encode())


def _headers(html: str) -> Headers:
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(html):
        digest = b64encode(sha256(content.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_sources(hashes['script'])}",
            f"style-src {_sources(hashes['style'])}",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


def _sources(hashes: list[str]) -> str:
    return " ".join(hashes) or "'none'"
