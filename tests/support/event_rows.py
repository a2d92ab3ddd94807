"""Events of the shared vectors as rows of the table `events`.

Invariant: nothing is derived: what a vector says is what is stored [vectors: about.events]. Built
apart from `domain/ingest/rows.py`, so a slip there cannot hide itself here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

Json = Mapping[str, object]

_ID_BASE: Final = 0x0F000000_0000_4000_8000_000000000000

_COLUMNS: Final = {
    "$bot_score": "bot_score",
    "$verified_bot": "verified_bot",
    "$mobile": "mobile",
    "$country": "country",
    "$region": "region",
    "$city": "city",
    "$browser": "browser",
    "$browserVersion": "browser_version",
    "$os": "os",
    "$osVersion": "os_version",
    "$device": "device",
    "$platform": "platform",
    "$url": "url",
    "$utmSource": "utm_source",
    "$utmMedium": "utm_medium",
    "$utmCampaign": "utm_campaign",
    "$pathname": "pathname",
    "$hostname": "hostname",
    "$referrer": "referrer",
    "$referrerDomain": "referrer_domain",
    "$channel": "channel",
    "$locale": "locale",
    "$screenSize": "screen_size",
    "$utmTerm": "utm_term",
    "$utmContent": "utm_content",
    "$pageTitle": "page_title",
}


def make_rows(project_id: str, events: Sequence[Json]) -> bytes:
    """NDJSON rows; an event without id gets one from its place in the list."""
    return b"".join(
        json.dumps(_row(project_id, index, event)).encode() + b"\n"
        for index, event in enumerate(events)
    )


def make_blocks(project_id: str, events: Sequence[Json], size: int) -> Iterator[bytes]:
    """The rows of the events in blocks of one size, each with its number, from 1 on."""
    rows = make_rows(project_id, events).splitlines()
    for number, start in enumerate(range(0, len(rows), size), 1):
        block = [json.loads(row) | {"insert_block": number} for row in rows[start : start + size]]
        yield "\n".join(map(json.dumps, block)).encode()


def tagged(value: object) -> str:
    """A slot as stored [decision 0001]; a vector writes text plainly and other slots by name."""
    if isinstance(value, str):
        return f"s{value}"
    ((slot, held),) = cast("Mapping[str, object]", value).items()
    if slot == "time":
        moment = str(held).removesuffix("Z").replace("T", " ")
        return f"t{moment if '.' in moment else moment + '.000'}"
    return f"{slot[0]}{_plain_text(held)}"


def _row(project_id: str, index: int, event: Json) -> dict[str, object]:
    auto = cast("Json", event.get("auto", {}))
    custom = cast("Json", event.get("custom", {}))
    row: dict[str, object] = {
        "event_id": event.get("event_id", str(UUID(int=_ID_BASE + index))),
        "project_id": project_id,
        "distinct_id": event["distinct_id"],
        "session_id": event["session_id"],
        "kind": event["kind"],
        "occur_time": str(event["occur_time"]).removesuffix("Z").replace("T", " "),
        "auto_properties": _tagged_map((k, v) for k, v in auto.items() if k not in _COLUMNS),
        "custom_properties": _tagged_map(custom.items()),
    }
    for key, value in auto.items():
        if key in _COLUMNS:
            row[_COLUMNS[key]] = _bare(value)
    return row


def _tagged_map(properties: Iterable[tuple[str, object]]) -> dict[str, str]:
    return {key: tagged(value) for key, value in properties}


def _bare(value: object) -> object:
    if isinstance(value, str):
        return value
    (held,) = cast("Mapping[str, object]", value).values()
    return held


def _plain_text(held: object) -> str:
    if isinstance(held, bool):
        return "true" if held else "false"
    if isinstance(held, float):
        return _float_text(held)
    return str(held)


def _float_text(number: float) -> str:
    """Shortest digits, plain between 1e-6 and 1e21 [insights 4.2]."""
    digits = repr(number).removesuffix(".0")
    if "e" not in digits:
        return digits
    if 1e-6 <= abs(number) < 1e21:
        return format(Decimal(digits), "f")
    mantissa, exponent = digits.split("e")
    return f"{mantissa}e{int(exponent)}"
