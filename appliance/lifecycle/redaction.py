"""Taking secrets and personal data out of text that leaves the machine.

Invariant: rather too much is taken out than too little. What is found gets a number, the same for
the same value within one redaction, so that lines can still be matched; values are never kept.
Everything that a support bundle holds passes through here.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, cast

_HEADERS: Final = "proxy-authorization|authorization|set-cookie|cookie"
_NAMES: Final = (
    r"[\w.-]{0,40}(?:x-api-key|api[_-]?key|password|passwd|passphrase|secret|token|"
    r"(?:private|signing|secret|access)[_-]?key)|pwd|seed|jwt|signature|dsn|pass"
)
_PERSONAL_NAMES: Final = frozenset(
    {
        *("distinct_id", "distinctid", "user_id", "userid", "session_id", "sessionid", "alias"),
        *("event_id", "eventid", "external_id", "anonymous_id", "device_id", "profile_id"),
        *("email", "mail", "e_mail", "name", "display_name", "first_name", "last_name", "phone"),
        *("ip", "ip_address", "remote_addr", "client_ip", "peer", "address", "user_agent"),
        *("url", "referrer", "query", "body", "payload", "statement", "parameters", "properties"),
        *("auto_properties", "custom_properties", "authorization", "cookie", "headers"),
        *("city", "region", "location", "latitude", "longitude", "subject", "recipient", "sender"),
    }
)
_SECRET_NAME: Final = re.compile(rf"(?:.*[_.-])?(?:{_HEADERS}|{_NAMES})", re.IGNORECASE)
_FREE_WORDS: Final = frozenset({"name", "address", "query", "statement", "region", "subject"})
"""Ordinary words in sentences; as names of fields they count."""

_VALUE: Final = r"""(?:"[^"\n]*"?|'[^'\n]*'?|\([^)\n]*\)?|[^\s,;&"'{}\[\]()]+)"""
_IS: Final = r"""["']?\)?\s{0,4}(?:=>|=|:)\s{0,4}"""
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
_HEADER: Final = re.compile(rf"(?P<name>\b(?:{_HEADERS}){_IS})[^\n]*", re.IGNORECASE)
_NO_PATH: Final = "(?!/(?:etc|var|run|opt|mnt|srv|home|tmp)/)"
"""Where a secret lies helps and is none."""
_NAMED: Final = re.compile(rf"(?P<name>\b(?:{_NAMES}){_IS}){_NO_PATH}{_VALUE}", re.IGNORECASE)
_PERSONAL_WORDS: Final = "|".join(sorted(_PERSONAL_NAMES - _FREE_WORDS))
_PERSONAL: Final = re.compile(rf"(?P<name>\b(?:{_PERSONAL_WORDS}){_IS}){_VALUE}", re.IGNORECASE)
_SCHEME: Final = re.compile(r"\b(Bearer|Basic|Digest)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE)
_API_KEY: Final = re.compile(r"\b(?:pub|prv|re|sk|pk|ghp|xox[abp]|AKIA)[_-]?[0-9A-Za-z]{10,}\b")
_JWT: Final = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]+){0,2}")
_NKEY: Final = re.compile(r"\bS[ACNOUX][A-Z2-7]{40,}\b")
_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}://)[^\s/@'\"]+@", re.IGNORECASE
)
_QUERY: Final = re.compile(
    r"(?P<path>\b[a-z][a-z0-9+.-]{0,20}://[^\s?#'\"]+)[?#][^\s'\"]*", re.IGNORECASE
)
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+'-]{1,64}(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_COOKIELESS: Final = re.compile(r"\bcookieless-[A-Za-z0-9_-]+")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
_HEX: Final = re.compile(r"\b[0-9a-f]{32,}\b", re.IGNORECASE)
_KEY_VALUES: Final = re.compile(r"(?<=\)=)\([^\n]*?\)(?= |$|;|\.)")
_JSON: Final = re.compile(r"""[\[{]\s{0,4}["'][^\n]*""")
_LITERAL: Final = re.compile(r"'(?:[^'\\\n]|\\.|'')*'")
_ADDRESS: Final = re.compile(
    r"(?<![\w.:])(?:(?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|"
    r"[0-9A-Fa-f]{0,4}))(?![\w.]*\w)"
)
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+){1,4}")
SECRET_LETTERS_MIN: Final = 6
_REDACTED: Final = "[secret]"


class Redactor:
    """One redaction: `known` are secrets of this installation, taken out wherever they stand."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        usable = sorted({text for text in known if len(text) >= SECRET_LETTERS_MIN}, key=len)
        self._known = (
            re.compile("|".join(re.escape(text) for text in reversed(usable))) if usable else None
        )
        self._numbers: dict[tuple[str, str], int] = {}
        self.counts: dict[str, int] = {}

    def text(self, text: str, *, literals: bool = False) -> str:
        """Text without secrets and personal data.

        `literals` takes out whatever stands in single quotes, too: databases quote values so.
        """
        if self._known is not None:
            text = self._known.sub(self._secret, text)
        text = _PEM.sub(self._secret, text)
        text = _CREDENTIALS.sub(lambda match: match["scheme"] + self._secret(match), text)
        text = _SCHEME.sub(lambda match: f"{match[1]} {self._secret(match)}", text)
        for pattern in (_HEADER, _NAMED):
            text = pattern.sub(lambda match: match["name"] + self._secret(match), text)
        for pattern in (_API_KEY, _JWT, _NKEY):
            text = pattern.sub(self._secret, text)
        text = _KEY_VALUES.sub(lambda match: self._mark("value", match[0]), text)
        text = _PERSONAL.sub(lambda match: match["name"] + self._mark("value", match[0]), text)
        text = _JSON.sub(lambda match: self._mark("json", match[0]), text)
        if literals:
            text = _LITERAL.sub(lambda match: self._mark("text", match[0]), text)
        text = _QUERY.sub(lambda match: match["path"] + self._mark("query", match[0]), text)
        text = _EMAIL.sub(lambda match: self._mark("mail", match[0].lower()), text)
        text = _COOKIELESS.sub(lambda match: self._mark("id", match[0]), text)
        text = _UUID.sub(lambda match: self._mark("id", match[0].lower()), text)
        text = _HEX.sub(self._secret, text)
        return _ADDRESS.sub(self._address, text)

    def value(self, value: object, *, name: str = "", literals: bool = False) -> object:
        """A JSON value without secrets and personal data; `name` is the field it stands in."""
        if value in (None, ""):
            return value
        if _SECRET_NAME.fullmatch(name):
            return self._secret(None)
        if self._is_personal(name):
            return self._mark("value", str(value))
        return self._by_kind(value, name, literals=literals)

    def _by_kind(self, value: object, name: str, *, literals: bool) -> object:
        match value:
            case bool() | int() | float():
                return value
            case dict():
                return self._pairs(cast("dict[str, object]", value), literals=literals)
            case list():
                items = cast("list[object]", value)
                return [self.value(one, name=name, literals=literals) for one in items]
            case str() if name == "version" and _VERSION.fullmatch(value):
                return value  # four numbers, and no address
            case _:
                return self.text(str(value), literals=literals)

    def _pairs(self, pairs: dict[str, object], *, literals: bool) -> dict[str, object]:
        return {
            self.text(name): self.value(one, name=name, literals=literals)
            for name, one in pairs.items()
        }

    def _is_personal(self, name: str) -> bool:
        return name.lower().replace("-", "_").lstrip("$") in _PERSONAL_NAMES

    def _secret(self, _match: re.Match[str] | None) -> str:
        self._count("secret")
        return _REDACTED

    def _mark(self, kind: str, value: str) -> str:
        self._count(kind)
        number = self._numbers.setdefault((kind, value), len(self._numbers) + 1)
        return f"[{kind} {number}]"

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ip_address(match[0])
        except ValueError:
            return match[0]
        if address.is_loopback or address.is_unspecified:
            return match[0]
        return self._mark("address", str(address))

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
