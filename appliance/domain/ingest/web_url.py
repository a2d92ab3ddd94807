"""URLs read exactly as strictly as the contract reads them [ingestion 8.3].

Invariant: `parse_url` is None for every text that the rules call unparseable, and never raises. The
library's parser accepts nearly anything, so only percent-decoding is taken from it. Paths and query
values that are not UTF-8 after decoding get U+FFFD instead of the bad bytes [ingestion 16.1].
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

URLS_CACHED_MAX: Final = 2048
"""Parsed URLs kept per process: a batch repeats the URL of its page, a site repeats its pages."""


class ParsedUrl(Struct, frozen=True):
    """A URL that parses. `scheme` and `host` are lower-cased and may be empty; `host` has neither
    port nor brackets; `path` is percent-decoded; `query` is verbatim.
    """

    scheme: str
    host: str
    path: str
    query: str

    @property
    def is_web(self) -> bool:
        """Absolute http or https with a host [ingestion 8.3]."""
        return self.scheme in _WEB_SCHEMES and bool(self.host)


_WEB_SCHEMES: Final = ("http", "https")
_PLAIN: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.\-]+)(?::[0-9]*)?"
    r"(?P<path>(?:/[^%?#\x00-\x1f\x7f]*)?)"
    r"(?:\?(?P<query>[^#\x00-\x1f\x7f]*))?"
    r"(?:#[^%\x00-\x1f\x7f]*)?"
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):")
_USER_INFO: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:%@]*")
_PORT: Final = re.compile(r"(?::[0-9]*)?")
_HOST_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"\u0080-\U0010ffff]|%[89A-Fa-f][0-9A-Fa-f])*"
)


@lru_cache(maxsize=URLS_CACHED_MAX)
def parse_url(text: str) -> ParsedUrl | None:
    """The parts of a URL, or None when it does not parse."""
    match = _PLAIN.fullmatch(text)
    if match is not None:
        return ParsedUrl(
            match["scheme"], match["host"].lower(), match["path"], match["query"] or ""
        )
    return parse_carefully(text)


def parse_carefully(text: str) -> ParsedUrl | None:
    """The same without the quick pattern for plain web URLs, rule by rule."""
    if _CONTROL.search(text):
        return None
    before, _, fragment = text.partition("#")
    if _BAD_ESCAPE.search(fragment) or before.startswith(":"):
        return None
    scheme_match = _SCHEME.match(before)
    scheme = scheme_match["scheme"].lower() if scheme_match else ""
    rest, _, query = before[scheme_match.end() if scheme_match else 0 :].partition("?")
    if not rest.startswith("/"):
        if scheme:
            return ParsedUrl(scheme, "", "", query)  # opaque, such as about:blank
        if ":" in rest.partition("/")[0]:
            return None
    return _hierarchical(scheme, rest, query)


def _hierarchical(scheme: str, rest: str, query: str) -> ParsedUrl | None:
    host: str | None = ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        host = _host(scheme, authority)
    if host is None or _BAD_ESCAPE.search(rest):
        return None
    return ParsedUrl(scheme, host, unquote(rest, errors="replace"), query)


def _host(scheme: str, authority: str) -> str | None:
    user_info, at, host = authority.rpartition("@")
    if at and (not _USER_INFO.fullmatch(user_info) or _BAD_ESCAPE.search(user_info)):
        return None
    if host.startswith("["):
        return _bracketed(host)
    name, colon, port = host.rpartition(":")
    if not colon:
        name = host
    elif not _PORT.fullmatch(colon + port) or (scheme in _WEB_SCHEMES and ":" in name):
        return None
    if not _HOST_NAME.fullmatch(name):
        return None
    return unquote(name, errors="replace").lower()


def _bracketed(host: str) -> str | None:
    address, bracket, port = host[1:].rpartition("]")
    if not bracket or not _PORT.fullmatch(port):
        return None
    literal, percent, zone = address.partition("%25")
    try:
        IPv6Address(literal)
    except AddressValueError:
        return None
    if percent and (not zone or _BAD_ESCAPE.search(zone)):
        return None
    return address.lower() if not percent else f"{literal}%{unquote(zone)}".lower()


def query_values(query: str, names: frozenset[str]) -> dict[str, str]:
    """The first value of each named key of a query, also when it is empty [ingestion 8.3]."""
    values: dict[str, str] = {}
    for pair in query.split("&"):
        if ";" in pair or ("%" in pair and _BAD_ESCAPE.search(pair)):
            continue
        key, _, value = pair.partition("=")
        name = _form_decoded(key)
        if name in names and name not in values:
            values[name] = _form_decoded(value)
    return values


def _form_decoded(text: str) -> str:
    text = text.replace("+", " ")
    return unquote(text, errors="replace") if "%" in text else text
