"""Which auto properties have a column of their own, and the way there and back [ingestion 14].

Invariant: `PROMOTED` is the one list of promoted properties; its order and names are those of
[storage 2.2]. `rows.py` splits with it, the event explorer merges with `read_back`.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import PropertyValue
from appliance.domain.ingest.slots import text_of

BOT_SCORE_MAX: Final = 255
_BOOL_TEXTS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


class ColumnKind(Enum):
    """What a promoted column holds, and what an absent property becomes."""

    TEXT = "text"  # absent: ''
    FLAG = "flag"  # absent: false
    NULLABLE_FLAG = "nullable_flag"  # absent: null
    NULLABLE_BYTE = "nullable_byte"  # 0 to 255, absent: null


class Promoted(Struct, frozen=True):
    """One promoted property; `event_dimension` and `session_dimension` name the roll-ups it is in
    [storage 2.2].
    """

    property: str
    column: str
    kind: ColumnKind = ColumnKind.TEXT
    event_dimension: bool = False
    session_dimension: bool = False


def _both(name: str, column: str) -> Promoted:
    return Promoted(name, column, event_dimension=True, session_dimension=True)


def _event_only(name: str, column: str) -> Promoted:
    return Promoted(name, column, event_dimension=True)


PROMOTED: Final = (
    Promoted("$bot_score", "bot_score", ColumnKind.NULLABLE_BYTE),
    Promoted("$verified_bot", "verified_bot", ColumnKind.NULLABLE_FLAG),
    Promoted("$mobile", "mobile", ColumnKind.FLAG),
    _both("$country", "country"),
    _both("$region", "region"),
    _both("$city", "city"),
    _both("$browser", "browser"),
    _event_only("$browserVersion", "browser_version"),
    _both("$os", "os"),
    _event_only("$osVersion", "os_version"),
    _both("$device", "device"),
    _both("$platform", "platform"),
    Promoted("$url", "url", session_dimension=True),
    _both("$utmSource", "utm_source"),
    _both("$utmMedium", "utm_medium"),
    _both("$utmCampaign", "utm_campaign"),
    _both("$pathname", "pathname"),
    _event_only("$hostname", "hostname"),
    Promoted("$referrer", "referrer"),
    _both("$referrerDomain", "referrer_domain"),
    _both("$channel", "channel"),
    _event_only("$locale", "locale"),
    _event_only("$screenSize", "screen_size"),
    _both("$utmTerm", "utm_term"),
    _both("$utmContent", "utm_content"),
    Promoted("$pageTitle", "page_title"),
)

ColumnValue = str | int | bool | None


def read_back(
    columns: Mapping[str, ColumnValue], rest: Mapping[str, PropertyValue]
) -> dict[str, PropertyValue]:
    """The auto properties of a stored event: promoted ones as text, empty ones left out; a
    non-empty text under the same key in the map wins [ingestion 14, read_back].
    """
    properties = dict(rest)
    for promoted in PROMOTED:
        text = _column_text(promoted.kind, columns.get(promoted.column))
        kept = properties.get(promoted.property)
        if text and not (isinstance(kept, str) and kept):
            properties[promoted.property] = text
    return properties


def _column_text(kind: ColumnKind, value: ColumnValue) -> str:
    if value is None or (kind is ColumnKind.FLAG and not value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _flag(value: PropertyValue) -> bool | None:
    if isinstance(value, bool):
        return value
    return _BOOL_TEXTS.get(value) if isinstance(value, str) else None


def _byte(value: PropertyValue) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        digits = value.lstrip("0") or "0"
        value = int(digits) if len(digits) <= len(str(BOT_SCORE_MAX)) else BOT_SCORE_MAX + 1
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= BOT_SCORE_MAX:
        return value
    return None


CONVERTERS: Final[dict[ColumnKind, Callable[[PropertyValue], ColumnValue]]] = {
    ColumnKind.TEXT: text_of,
    ColumnKind.FLAG: _flag,
    ColumnKind.NULLABLE_FLAG: _flag,
    ColumnKind.NULLABLE_BYTE: _byte,
}
"""What a column of each kind stores for a value; None when the value stays in the map."""
