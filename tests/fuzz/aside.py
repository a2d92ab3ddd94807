"""Inputs for the other doors that take events and names: other products' clients, and Identify.

Invariant: nothing is expected of an answer but that the door stands; whose events they are is
another project, so that they do not count among those of `game.py`.
"""

import json
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from msgspec import Struct

from appliance.api.compat.doors import DOORS
from tests.fuzz.inputs import BINARY, JSON, damaged, junk
from tests.support.messages import ANY_JSON

IDENTIFY: Final = "/sdk.profiles.v1.ProfilesSDKService/Identify"
_PATHS: Final = tuple(sorted({door.path for door in DOORS if "POST" in door.methods}))
_NAMES: Final = (
    "type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId",
    "properties", "traits", "context", "timestamp", "sentAt", "originalTimestamp", "distinct_id",
    "uuid", "$set", "$set_once", "api_key", "batch", "integrations", "offset", "data", "category",
)  # fmt: skip
_TELLING: Final = st.sampled_from(
    (
        "track", "page", "screen", "identify", "alias", "group", "$identify", "$create_alias",
        "$pageview", "$groupidentify", "Order Completed", "2026-03-04T05:06:07Z", "2026-03-04", "x",
        "anon-1", "cookieless-1", "6f1d9f62-0c7b-4d0e-8a55-3f0a9b1c2d01", 1772600000000, -1, 1e30,
        {"library": {"name": "analytics.js"}, "ip": "203.0.113.7", "page": {"url": "http://[::1"}},
        {"campaign": {"name": 5}, "screen": {"width": 1e400}, "locale": "de_at"},
        {"$set": {"$ip": "x"}, "$lib": 5, "$current_url": "%ff", "token": "pub_x"},
    )
)  # fmt: skip
_call: Final = st.dictionaries(st.sampled_from(_NAMES), _TELLING | ANY_JSON, max_size=8)
_body: Final[st.SearchStrategy[Any]] = st.one_of(  # whatever JSON can hold
    _call,
    st.lists(_call, max_size=4),
    st.builds(lambda calls, rest: {**rest, "batch": calls}, st.lists(_call, max_size=4), _call),
    ANY_JSON,
)
_identify: Final = st.dictionaries(
    st.sampled_from(("externalId", "external_id", "traits", "anonymousId", "deviceId", "x")),
    _TELLING | ANY_JSON,
    max_size=5,
)
_QUERIES: Final = (
    "", "", "?compression=gzip-js", "?compression=gzip", "?compression=base64", "?compression=x",
    "?ip=1&_=5&ver=1", "?api_key=%ff", "?token=pub_%zz&%=&&", "?sent_at=x", "?api_key=&api_key=x",
    "?beacon=1&" + "a=b&" * 500,
)  # fmt: skip
_KINDS: Final = (
    JSON, JSON, BINARY, "", "text/plain", "application/x-www-form-urlencoded",
    "application/octet-stream", "multipart/form-data", "application/json; charset=latin-1",
)  # fmt: skip


class Aside(Struct, frozen=True, kw_only=True):
    """One request to another door."""

    path: str
    content_type: str
    body: bytes


@st.composite
def asides(draw: st.DrawFn, chance: Random) -> list[Aside]:
    """A call as it may be sent, the same damaged, and junk, each to some door."""
    body = json.dumps(draw(_body)).encode()
    named = json.dumps(draw(_identify)).encode()
    nonsense = draw(junk)
    found = [
        Aside(path=IDENTIFY, content_type=chance.choice((JSON, BINARY)), body=one)
        for one in (named, damaged(named, chance), nonsense)
    ]
    for one in (
        body,
        body,
        b"data=" + body,
        damaged(body, chance),
        damaged(body, chance),
        nonsense,
    ):
        path = chance.choice(_PATHS) + chance.choice(("", "/")) + chance.choice(_QUERIES)
        found.append(Aside(path=path, content_type=chance.choice(_KINDS), body=one))
    return found
