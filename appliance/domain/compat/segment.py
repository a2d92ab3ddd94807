"""Calls of Segment's and RudderStack's clients in our words [compat-ingest 1].

Invariant: a pure function of the calls and of where they came in; the same call gives the same
event, identity and time, so a repetition changes nothing. The table of what becomes what, for
people: docs/migrating.md.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from appliance.domain.compat.mapped import (
    Draft,
    Mapped,
    Reception,
    Untold,
    anonymous,
    event_id,
    is_usable,
    put,
    session_id,
)
from appliance.domain.compat.names import ORIGINAL_NAME, SEGMENT_NAMES, make_kind
from appliance.domain.compat.reading import (
    JsonObject,
    as_object,
    inner,
    read_instant,
    read_number,
    read_properties,
    read_text,
    read_traits,
    read_value,
)
from appliance.domain.ingest.event import Event, Properties
from appliance.domain.ingest.user_agent import read_user_agent
from appliance.domain.ingest.validate import TEXT_CHARACTERS_MAX

CALLS: Final[Mapping[str, str]] = {
    letter: name
    for name in ("track", "page", "screen", "identify", "group", "alias")
    for letter in (name, name[0])
}
"""The kinds of call by their name and by the letter in short paths."""

_PAGE: Final = frozenset({"url", "path", "referrer", "search", "title"})
_NO_REFERRER: Final = "$direct"
_WEB_LIBRARIES: Final = frozenset({"analytics.js", "RudderLabs JavaScript SDK"})
_SERVERS: Final = ("-node", "-python", "-ruby", "-go", "-php", "-java", "-rust", ".NET", "-csharp")
_AMOUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "purchase": ("total", "revenue", "value"),
    "order_refunded": ("total", "value"),
    "checkout_started": ("value", "revenue"),
}
"""Where the amount of a well-known kind stands, the first that is there."""
_CAMPAIGN: Final = {
    "source": "$utmSource",
    "medium": "$utmMedium",
    "name": "$utmCampaign",
    "term": "$utmTerm",
    "content": "$utmContent",
}
_CONTEXT: Final = (
    (("library", "name"), "$lib"),
    (("library", "version"), "$sdkVersion"),
    (("locale",), "$locale"),
    (("timezone",), "$timezone"),
    (("os", "name"), "$os"),
    (("os", "version"), "$osVersion"),
    (("app", "name"), "$appName"),
    (("app", "namespace"), "$appPackage"),
    (("app", "version"), "$appVersion"),
    (("app", "build"), "$appBuild"),
    (("device", "manufacturer"), "$deviceManufacturer"),
    (("device", "model"), "$deviceModel"),
)
_SCREEN: Final = (
    ("width", "$screenWidth"),
    ("height", "$screenHeight"),
    ("density", "$screenScale"),
)
_PLATFORMS: Final = frozenset({"ios", "android", "web", "macos", "windows", "linux"})


def map_segment(
    calls: Iterable[object], reception: Reception, *, call_type: str | None = None
) -> Mapped:
    """Everything in the calls of one request; `call_type` is that of the path, where it has one."""
    draft = Draft(reception)
    for content in calls:
        call = as_object(content)
        if not call:
            draft.refuse(Untold.NOT_AN_OBJECT)
            continue
        name = call_type or CALLS.get(read_text(call.get("type")) or "")
        _map_call(draft, call, name)
    return draft.finish()


def is_server(call: JsonObject) -> bool:
    """Whether a call comes from a server, by the name of its library."""
    library = read_text(inner(call, "context", "library").get("name")) or ""
    return call.get("channel") == "server" or library.endswith(_SERVERS)


def _map_call(draft: Draft, call: JsonObject, name: str | None) -> None:
    draft.from_server = draft.from_server or is_server(call)
    user = read_text(call.get("userId"))
    visitor = read_text(call.get("anonymousId"))
    distinct_id = user or (anonymous(visitor) if visitor else None)
    if distinct_id is None:
        draft.refuse(Untold.NO_IDENTITY)
    elif not is_usable(distinct_id):
        draft.refuse(Untold.UNUSABLE_IDENTITY)
    elif name in {"identify", "alias"}:
        _map_identity(draft, call, name, user)
    elif name == "track":
        _map_track(draft, call, distinct_id)
    elif name in {"page", "screen", "group"}:
        _map_view(draft, call, name, distinct_id)
    else:
        draft.refuse(Untold.UNKNOWN_TYPE)


def _map_identity(draft: Draft, call: JsonObject, name: str, user: str | None) -> None:
    """Traits of nobody in particular have no place: a person begins with a name [profiles 1]."""
    if user is None:
        draft.refuse(Untold.ANONYMOUS_TRAITS)
        return
    source = call.get("anonymousId" if name == "identify" else "previousId")
    visitor = read_text(source)
    traits = read_traits(inner(call, "context", "traits"), as_object(call.get("traits")))
    draft.identify(
        user,
        traits if name == "identify" else {},
        anonymous(visitor) if visitor and visitor != user else "",
    )


def _map_track(draft: Draft, call: JsonObject, distinct_id: str) -> None:
    name = read_text(call.get("event"))
    if name is None:
        draft.refuse(Untold.NO_NAME)
        return
    kind = SEGMENT_NAMES.get(name) or make_kind(name)
    content = as_object(call.get("properties"))
    properties = read_properties(content)
    if kind != name:
        properties.setdefault(ORIGINAL_NAME, name[:TEXT_CHARACTERS_MAX])
    for source in _AMOUNTS.get(kind, ()):
        amount = read_number(content.get(source))
        if amount is not None:
            properties.setdefault("amount", amount)
            break
    _add(draft, call, kind, distinct_id, properties)


def _map_view(draft: Draft, call: JsonObject, name: str, distinct_id: str) -> None:
    content = as_object(call.get("properties"))
    given = read_text(call.get("name")) or read_text(content.get("name"))
    if name == "page":
        properties = read_properties(content, without=_PAGE)
        put(properties, "name", given and given[:TEXT_CHARACTERS_MAX])
        _put_text(properties, "category", call.get("category"))
        _add(draft, call, "page_view", distinct_id, properties)
    elif name == "screen":
        properties = read_properties(content)
        put(properties, "screenName", given and given[:TEXT_CHARACTERS_MAX])
        _put_text(properties, "category", call.get("category"))
        _add(draft, call, "screen_view", distinct_id, properties)
    else:
        properties = read_properties(as_object(call.get("traits")))
        _put_text(properties, "groupId", call.get("groupId"))
        _add(draft, call, "group", distinct_id, properties)


def _add(
    draft: Draft, call: JsonObject, kind: str, distinct_id: str, properties: Properties
) -> None:
    reception = draft.reception
    context = as_object(call.get("context"))
    told = read_instant(call.get("timestamp") or call.get("originalTimestamp"))
    occurred = reception.occurred_ms(told)
    if group := read_text(context.get("groupId")):
        properties.setdefault("groupId", group[:TEXT_CHARACTERS_MAX])
    draft.add_event(
        Event(
            event_id=event_id(reception, read_text(call.get("messageId")), call, told),
            kind=kind,
            occur_time_ms=occurred,
            distinct_id=distinct_id,
            session_id=session_id(
                reception, read_text(context.get("sessionId")), distinct_id, occurred
            ),
            auto_properties=_auto_properties(call, context),
            custom_properties=properties,
        )
    )


def _auto_properties(call: JsonObject, context: JsonObject) -> Properties:
    found: Properties = {}
    for path, key in _CONTEXT:
        _put_text(found, key, inner(context, *path[:-1]).get(path[-1]))
    for source, key in _CAMPAIGN.items():
        _put_text(found, key, inner(context, "campaign").get(source))
    for source, key in _SCREEN:
        put(found, key, read_number(inner(context, "screen").get(source)))
    put(found, "$platform", _platform(call, context))
    _put_page(found, call, context)
    agent = read_text(context.get("userAgent"))
    if agent and is_server(call):  # a browser's own stands in the request
        for key, value in read_user_agent(agent).properties:
            found.setdefault(key, value)
    return found


def _put_page(found: Properties, call: JsonObject, context: JsonObject) -> None:
    page = inner(context, "page")
    shown = as_object(call.get("properties") if call.get("type", "page") == "page" else None)
    for source, key in (("url", "$url"), ("title", "$pageTitle"), ("referrer", "$referrer")):
        value = read_text(shown.get(source)) or read_text(page.get(source))
        if value != _NO_REFERRER:
            _put_text(found, key, value)
    if "$url" not in found:
        _put_text(found, "$pathname", shown.get("path") or page.get("path"))


def _platform(call: JsonObject, context: JsonObject) -> str | None:
    if is_server(call):
        return "server"
    kind = (read_text(inner(context, "device").get("type")) or "").lower()
    if kind in _PLATFORMS:
        return kind
    library = read_text(inner(context, "library").get("name"))
    return "web" if library in _WEB_LIBRARIES or "page" in context else None


def _put_text(found: Properties, key: str, value: object) -> None:
    text = read_text(value)
    if text is not None:
        kept = read_value(text)
        assert kept is not None
        found[key] = kept
