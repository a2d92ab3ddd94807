"""Inputs for the ingest door, from almost right to nonsense, drawn by hypothesis.

Invariant: every input is bytes and headers as a stranger may send them; what the door must make of
them is decided in `oracle.py`, by other libraries than the door's own.
"""

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from msgspec import Struct

JSON: Final = "application/json"
BINARY: Final = "application/proto"
WEB: Final = "application/grpc-web+proto"
WEB_TEXT: Final = "application/grpc-web-text+proto"

Json = dict[str, Any]  # bodies as they are on the wire


class Input(Struct, frozen=True, kw_only=True):
    """One request: `plain` is what the body means once it is unpacked."""

    label: str
    content_type: str
    body: bytes
    plain: bytes
    headers: Mapping[str, str] = {}
    spoiled: bool = False


_HOSTILE: Final = (
    "",
    " ",
    "\x00",
    "\n",
    "\x7f\x1b[2J",
    "a\u2028b",
    "\U0001f436" * 300,
    "a" * 1024,
    "\u00e9" * 1024,
    "'; DROP TABLE events; --",
    "{x:Identifier}",
    "\\N",
    "\\",
    '"',
    "cookieless-x",
    "Cookieless-x",
    "NaN",
    "1e999",
    "-0",
    "true",
    "s",
    "i5",
    "null",
    "undefined",
    "../../etc/passwd",
    "%00%ff%zz",
)
_URLS: Final = (
    "https://shop.example/a%FFb?utm_source=a%FFb&utm_medium=%zz",
    "https://shop.example/?utm_source=google&utm_medium=cpc#x%zz",
    "http://[::1]:80/%E2%82",
    "http://[::1",
    "https://user:p@ss@host:99999999999/",
    "HTTPS://\u00dcmlaut.example:443/\u00e4?utm_source=%E4",
    "about:blank",
    "//host/x",
    "https://" + "a." * 500,
    "https://x/" + "%41" * 330,
    "https://x/?" + "&" * 1000,
    "javascript:alert(1)",
)
_AUTO_KEYS: Final = (
    "$ip",
    "$country",
    "$url",
    "$referrer",
    "$hostname",
    "$pathname",
    "$channel",
    "$utmSource",
    "$utmMedium",
    "$locale",
    "$screenWidth",
    "$screenHeight",
    "$mobile",
    "$bot_score",
    "$verified_bot",
    "$latitude",
    "$site",
    "$",
)
_text: Final = st.one_of(
    st.sampled_from(_HOSTILE), st.text(max_size=12), st.text(alphabet="abc-_. $", max_size=8)
)
_url: Final = st.one_of(
    st.sampled_from(_URLS), st.builds("{}://{}/{}?{}".format, _text, _text, _text, _text)
)
_number: Final = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from((0, -1, 2**53 + 1, -(2**63), 2**63 - 1, 1920)),
)
_double: Final = st.floats(allow_nan=False, allow_infinity=False)
_fraction: Final = st.sampled_from(("", ".0", ".089", ".123456789", ".999999999"))
_zone: Final = st.sampled_from(("Z", "+00:00", "+05:45", "-23:59", "+14:00"))
_instant: Final = st.builds(
    lambda at, fraction, zone: f"{at:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + zone,
    st.datetimes(datetime(1000, 1, 2), datetime(9998, 12, 31)),  # noqa: DTZ001 the zone is text
    _fraction,
    _zone,
)
_bad_instant: Final = st.one_of(
    st.sampled_from(
        (
            "",
            "now",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59.9999999999Z",
            "2026-02-30T00:00:00Z",
            "2026-03-04T05:06:60Z",
            "2026-03-04t05:06:07z",
            "2026-03-04 05:06:07Z",
            "2026-03-04T05:06:07",
            "\u0662\u0660\u0662\u0666-03-04T05:06:07Z",
            1772600000,
            {"seconds": 5},
        )
    ),
    _text,
)
_good_value: Final = st.one_of(
    st.builds(lambda v: {"stringValue": v}, _text),
    st.builds(lambda v: {"stringValue": v[:1024]}, _url),
    st.builds(lambda v: {"intValue": v}, _number),
    st.builds(lambda v: {"intValue": str(v)}, _number),
    st.builds(lambda v: {"doubleValue": v}, _double),
    st.builds(lambda v: {"boolValue": v}, st.booleans()),
    st.builds(lambda v: {"timestampValue": v}, _instant),
)
_bad_value: Final = st.one_of(
    st.sampled_from(
        (
            {},
            None,
            [],
            "text",
            5,
            {"stringValue": None},
            {"stringValue": 5},
            {"stringValue": "\ud800"},
            {"stringValue": "a" * 1025},
            {"stringValue": "\U0001f436" * 1025},
            {"stringValue": "a", "intValue": "1"},
            {"string_value": "a", "intValue": None},
            {"intValue": "1.5"},
            {"intValue": 1e30},
            {"intValue": "9" * 400},
            {"intValue": " 1"},
            {"intValue": "\u0661"},
            {"doubleValue": "NaN"},
            {"doubleValue": "Infinity"},
            {"doubleValue": "1e400"},
            {"doubleValue": True},
            {"boolValue": "true"},
            {"boolValue": 1},
            {"listValue": []},
            {"stringValue": "a", "unknown": {"deep": [[[]]]}},
        )
    ),
    st.builds(lambda v: {"timestampValue": v}, _bad_instant),
)
_auto_key: Final = st.one_of(st.sampled_from(_AUTO_KEYS), _text.map("${}".format))
_custom_key: Final = _text.filter(lambda key: not key.startswith("$"))
_BAD_ID: Final = (
    "",
    None,
    5,
    "{6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d01}",
    "6f1d9f620c7b4d0e8a553f0a9b1c2d01",
    "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d01\n",
    "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d0g",
    "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d0\u0661",
)
_bad_fields: Final[Mapping[str, st.SearchStrategy[Any]]] = {  # whatever JSON can hold
    "eventId": st.sampled_from(_BAD_ID),
    "kind": st.one_of(_text, st.sampled_from(("a b", "a\n", "\u00e9", None, 5))),
    "occurTime": _bad_instant,
    "distinctId": st.one_of(_text, st.none(), st.just(5)),
    "sessionId": st.one_of(_text, st.none(), st.sampled_from(_BAD_ID)),
    "cookieless": st.sampled_from((True, None, "true", 1)),
    "autoProperties": st.one_of(
        st.dictionaries(_text, _good_value, max_size=2),
        st.dictionaries(_auto_key, _bad_value, max_size=2),
        st.sampled_from((None, [], "x")),
    ),
    "customProperties": st.one_of(
        st.dictionaries(_auto_key, _good_value, max_size=2),
        st.dictionaries(_custom_key, _bad_value, max_size=2),
    ),
    "unknown": st.one_of(_text, st.none(), st.just({"a": [1, {"b": None}]})),
}
_BAD_NAMES: Final = tuple(sorted(_bad_fields))
_one_in_eight: Final = st.sampled_from((False,) * 7 + (True,))
_SPELLINGS: Final = {
    "eventId": "event_id",
    "occurTime": "occur_time",
    "distinctId": "distinct_id",
    "sessionId": "session_id",
    "autoProperties": "auto_properties",
    "customProperties": "custom_properties",
}


@st.composite
def wire_events(draw: st.DrawFn, event_id: str, now: datetime, *, wrong: bool) -> Json:
    """One event, wrong in one or two ways where it is to be."""
    event: Json = {
        "eventId": event_id,
        "kind": draw(st.sampled_from(("page_view", "a", "A.b_c-1", "k" * 300))),
        "occurTime": draw(_instant),
        "distinctId": draw(st.sampled_from(("cust-1", "\U0001f436", "x" * 5000, "Cookieless-1"))),
        "sessionId": "c3b1a7e4-5d20-4f7e-9a10-0b8c6d4e2f11",
        "autoProperties": draw(st.dictionaries(_auto_key, _good_value, max_size=4)),
        "customProperties": draw(st.dictionaries(_custom_key, _good_value, max_size=3)),
    }
    if draw(_one_in_eight):
        del event["distinctId"], event["sessionId"]
        event["cookieless"] = True
        event["occurTime"] = draw(
            st.sampled_from((f"{now:%Y-%m-%dT%H:%M:%S}Z", "2020-01-01T00:00:00Z"))
        )
    if wrong:
        for field in draw(st.lists(st.sampled_from(_BAD_NAMES), min_size=1, max_size=2)):
            event[field] = draw(_bad_fields[field])
        if draw(_one_in_eight):
            event.pop(draw(st.sampled_from(_BAD_NAMES)), None)
    if draw(_one_in_eight):
        event = {_SPELLINGS.get(key, key): value for key, value in event.items()}
    return event


@st.composite
def requests(draw: st.DrawFn, prefix: str) -> bytes:
    """A request in JSON form; every third is wrong somewhere."""
    now = datetime.now(UTC)
    odd = draw(st.sampled_from(range(200)))
    wrong = draw(st.sampled_from((False, False, True)))
    events: Any = [  # or anything else, below
        draw(wire_events(f"{prefix}-{number:012x}", now, wrong=wrong))
        for number in range(draw(st.sampled_from((1, 1, 2, 3, 0))))
    ]
    if odd == 0:
        events = draw(st.sampled_from((None, {}, "x", [None], [[]], [5])))
    elif odd == 1 and events:
        events = [
            {**events[0], "eventId": f"{prefix}-{number:012x}"}
            for number in range(draw(st.sampled_from((999, 1000, 1001))))
        ]
    elif odd == 2 and events:
        events = [events[0], events[0]]
    request = {"events": events, **({"extra": draw(_text)} if odd == 3 else {})}
    return json.dumps(request, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


def damaged(body: bytes, chance: Random) -> bytes:
    """The same bytes after one to four accidents; not drawn one by one, which takes long."""
    found = bytearray(body or b"\x00")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(found) or 1)
        match chance.choice(("flip", "cut", "drop", "insert", "repeat", "swap")):
            case "flip":
                found[place : place + 1] = chance.randbytes(1)
            case "cut" if chance.random() < 0.3:
                del found[place:]
            case "drop":
                del found[place : place + chance.randint(1, 8)]
            case "repeat":
                found[place:place] = found[place : place + chance.randint(1, 200)]
            case "swap":
                other = chance.randrange(len(found) or 1)
                found[place : place + 4], found[other : other + 4] = (
                    found[other : other + 4],
                    found[place : place + 4],
                )
            case _:
                found[place:place] = chance.choice(_SPLINTERS)
    return bytes(found)


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _field(number: int, kind: int, content: bytes) -> bytes:
    length = _varint(len(content)) if kind == 2 else b""
    return _varint(number << 3 | kind) + length + content


_scalars: Final = st.one_of(
    st.builds(lambda n, v: _field(n, 0, _varint(v)), st.integers(0, 9), st.integers(-1, 2**64)),
    st.builds(lambda n, v: _field(n, 1, v), st.integers(1, 9), st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, v: _field(n, 5, v), st.integers(1, 9), st.binary(min_size=4, max_size=4)),
    st.builds(lambda n, v: _field(n, 2, v), st.integers(1, 9), st.binary(max_size=40)),
    st.builds(
        lambda n, v: _field(n, 2, v.encode(errors="surrogatepass")), st.integers(1, 9), _text
    ),
    st.sampled_from((b"\x0b", b"\x0c", b"\x0f", b"\xff" * 11, b"\x0a\xff\xff\xff\xff\x0f")),
)
wire_bytes: Final = st.recursive(
    _scalars,
    lambda inner: st.builds(
        lambda n, parts: _field(n, 2, b"".join(parts)),
        st.integers(1, 8),
        st.lists(inner, max_size=5),
    ),
    max_leaves=20,
)
"""Well-formed and ill-formed fields of the binary form, without a schema."""
junk: Final = st.one_of(
    st.binary(max_size=200),
    wire_bytes,
    st.sampled_from(
        (
            b"",
            b"{",
            b"[" * 5000,
            b'{"events":' * 2000,
            b'{"a":' * 2000 + b"1" + b"}" * 2000,
            b"\xef\xbb\xbf{}",
            b'{"events":[]}\x00',
            b'{"events":[],"events":[]}',
            b"\x0a" * 5000,
            b"1" * 5000,
            b'{"events":[{"customProperties":{"a":{"intValue":1' + b"0" * 5000 + b"}}}]}",
        )
    ),
)

_SPLINTERS: Final = (
    b"\x00", b"\xff", b"\x80", b'"', b"\\", b"{", b"}", b"[", b",", b"null", b"-", b"1e999",
    b"\\ud800", b"\x0a\x00", b"\x1a\x00", b"\xed\xa0\x80", b"9" * 400,
)  # fmt: skip
_agents: Final = st.one_of(
    st.sampled_from(
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0.0.0 Safari/537.36",
            "",
            "curl/8",
            "Mozilla/5.0 (" + "a;" * 2000 + ")",
            "\xe4\xff\x80",
            "(" * 500,
        )
    ),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=60),
)
_addresses: Final = st.sampled_from(
    (
        "198.51.100.7",
        "10.1.2.3, 198.51.100.7",
        "::ffff:198.51.100.7",
        "fe80::1%eth0",
        "unknown",
        "",
        ",,,",
        "1.2.3.4:80",
        "a, " * 500,
        "0x7f.1",
    )
)
_cdn: Final = st.dictionaries(
    st.sampled_from(
        (
            "CF-IPCountry",
            "CF-IPLatitude",
            "CF-Bot-Score",
            "CF-Verified-Bot",
            "CF-Connecting-IP",
            "True-Client-IP",
            "CF-Region",
        )
    ),
    st.sampled_from(("", "XX", "AT", "NaN", "Infinity", "1e999", "-1", "256", "true", "\xff", "a")),
    max_size=3,
)


@st.composite
def sender_headers(draw: st.DrawFn) -> dict[str, str]:
    """What a stranger says about themself."""
    found = dict(draw(_cdn))
    if draw(st.integers(0, 3)):
        found["User-Agent"] = draw(_agents)
    if draw(st.booleans()):
        found["X-Forwarded-For"] = draw(_addresses)
    return found


@st.composite
def packed(draw: st.DrawFn, given: Input, chance: Random) -> Input:
    """The same request compressed or in another envelope, sometimes wrongly."""
    way = draw(st.sampled_from(("gzip", "zlib", "damaged gzip", "named only", "web", "web text")))
    body, headers, content_type, spoiled = (
        given.plain,
        dict(given.headers),
        given.content_type,
        True,
    )
    match way:
        case "gzip":
            body, spoiled = gzip.compress(body, mtime=0), False
            headers["Content-Encoding"] = "gzip"
        case "zlib":
            body = zlib.compress(body)
            headers["Content-Encoding"] = draw(st.sampled_from(("gzip", "deflate", "zstd", "br")))
        case "damaged gzip":
            body = damaged(gzip.compress(body, mtime=0), chance)
            headers["Content-Encoding"] = "gzip"
        case "named only":
            headers["Content-Encoding"] = draw(st.sampled_from(("gzip", "x", "identity, gzip")))
        case _:
            flags = draw(st.sampled_from((0, 0, 0, 1, 2, 128, 255)))
            length = draw(st.sampled_from((len(body), len(body), 0, 5, 2**32 - 1)))
            body = bytes((flags,)) + length.to_bytes(4, "big") + body
            content_type = WEB
            if way == "web text":
                content_type, body = WEB_TEXT, base64.b64encode(body)
    return Input(
        label=way,
        content_type=content_type,
        body=body,
        plain=given.plain,
        headers=headers,
        spoiled=spoiled,
    )
