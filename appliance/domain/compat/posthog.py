"""Events of PostHog's clients in our words [compat-ingest 2].

Invariant: a pure function of the events and of where they came in; the same event gives the same
event, identity and time, so a repetition changes nothing. Who is anonymous is told by the event
where it can be (`$device_id`, `$is_identified`), else by the form of the id (decision 0022).
The table of what becomes what, for people: docs/migrating.md.
"""

from collections.abc import Iterable
from typing import Final

from appliance.domain.compat.mapped import (
    Draft,
    Mapped,
    Reception,
    Untold,
    anonymous,
    event_id,
    is_usable,
    looks_anonymous,
    session_id,
)
from appliance.domain.compat.names import ORIGINAL_NAME, POSTHOG_NAMES, make_kind
from appliance.domain.compat.posthog_properties import auto_properties, custom_properties
from appliance.domain.compat.reading import (
    JsonObject,
    as_object,
    inner,
    read_instant,
    read_number,
    read_text,
    read_traits,
)
from appliance.domain.ingest.event import Event
from appliance.domain.ingest.validate import TEXT_CHARACTERS_MAX
from appliance.domain.people.traits import Properties

_SERVERS: Final = ("python", "node", "ruby", "php", "go", "java", "elixir", "rust", "dotnet")
_GROUPS: Final = "$groupidentify"
_RECORDINGS: Final = frozenset({"$snapshot", "$$heatmap", "$performance_event"})
_AUTOCAPTURED: Final = {"click": "click", "submit": "form_submit", "change": "form_change"}
_OF_PERSONS: Final = frozenset(
    {"$identify", "$set", "$set_once", "$create_alias", "$merge_dangerously"}
)


def map_posthog(
    events: Iterable[object], reception: Reception, *, cookieless: bool = True
) -> Mapped:
    """Everything in the events of one request; `cookieless` says whether its sender can be told
    from others without an id, which nobody can who reads a file.
    """
    draft = Draft(reception)
    for content in events:
        event = as_object(content)
        if not event:
            draft.refuse(Untold.NOT_AN_OBJECT)
            continue
        properties = as_object(event.get("properties"))
        draft.from_server = draft.from_server or is_server(properties)
        _map_event(draft, event, properties, cookieless=cookieless)
    return draft.finish()


def is_server(properties: JsonObject) -> bool:
    """Whether an event comes from a server: it says so, or its library's name does."""
    library = read_text(properties.get("$lib")) or ""
    return properties.get("$is_server") is True or library.removeprefix("posthog-") in _SERVERS


def _map_event(
    draft: Draft, event: JsonObject, properties: JsonObject, *, cookieless: bool
) -> None:
    name = read_text(event.get("event"))
    distinct_id = read_text(event.get("distinct_id")) or read_text(properties.get("distinct_id"))
    if name is None:
        draft.refuse(Untold.NO_NAME)
    elif name == _GROUPS:
        draft.refuse(Untold.GROUP_TRAITS)
    elif name in _RECORDINGS:
        draft.refuse(Untold.RECORDING)
    elif properties.get("$cookieless_mode") is True:
        if cookieless and name not in _OF_PERSONS:
            _add(draft, event, properties, name, None)
        else:
            draft.refuse(Untold.NO_IDENTITY)
    elif distinct_id is None:
        draft.refuse(Untold.NO_IDENTITY)
    elif not is_usable(distinct_id):
        draft.refuse(Untold.UNUSABLE_IDENTITY)
    else:
        _map_known(draft, event, properties, name, distinct_id)


def _map_known(
    draft: Draft, event: JsonObject, properties: JsonObject, name: str, distinct_id: str
) -> None:
    if name == "$create_alias":
        _map_alias(draft, properties, distinct_id)
        return
    if name in _OF_PERSONS:
        _map_person(draft, event, properties, distinct_id)
        return
    told = _told_anonymous(properties, distinct_id)
    if _has_traits(event, properties) and properties.get("$process_person_profile") is not False:
        if told:
            draft.refuse(Untold.ANONYMOUS_TRAITS)
        else:
            _map_person(draft, event, properties, distinct_id)
    visitor = told or (told is None and looks_anonymous(distinct_id))
    _add(draft, event, properties, name, anonymous(distinct_id) if visitor else distinct_id)


def _told_anonymous(properties: JsonObject, distinct_id: str) -> bool | None:
    """Whether the sender says that nobody is known yet; None where it says nothing."""
    identified = properties.get("$is_identified")
    if isinstance(identified, bool):
        return not identified
    device = read_text(properties.get("$device_id"))
    return None if device is None else device == distinct_id


def _map_person(draft: Draft, event: JsonObject, properties: JsonObject, distinct_id: str) -> None:
    """A name of a visitor's form may have been met before anybody knew that it is a name."""
    traits = _traits(event, properties, "$set")
    once = _traits(event, properties, "$set_once")
    if once:
        draft.identify(distinct_id, once, once=True)
    visitor = read_text(properties.get("$anon_distinct_id"))
    if visitor is not None and visitor != distinct_id:
        draft.identify(distinct_id, traits, anonymous(visitor))
        traits = {}
    elif not looks_anonymous(distinct_id) and (traits or not once):
        draft.identify(distinct_id, traits)
    if looks_anonymous(distinct_id):
        draft.identify(distinct_id, traits, anonymous(distinct_id))


def _map_alias(draft: Draft, properties: JsonObject, distinct_id: str) -> None:
    """Python's client names the main id as the alias, the others the other way round."""
    other = read_text(properties.get("alias"))
    if other is None:
        draft.refuse(Untold.NO_IDENTITY)
        return
    turned = read_text(properties.get("$lib")) == "posthog-python"
    main, merged = (other, distinct_id) if turned else (distinct_id, other)
    if main != merged:
        draft.identify(main, {}, anonymous(merged))


def _has_traits(event: JsonObject, properties: JsonObject) -> bool:
    return any(_traits(event, properties, name) for name in ("$set", "$set_once"))


def _traits(event: JsonObject, properties: JsonObject, name: str) -> Properties:
    return read_traits(inner(properties, name), inner(event, name))


def _add(
    draft: Draft, event: JsonObject, properties: JsonObject, name: str, distinct_id: str | None
) -> None:
    reception = draft.reception
    told = _told_ms(event, properties, reception)
    occurred = reception.occurred_ms(told)
    kind = _kind(name, properties)
    custom = custom_properties(name, event, properties)
    if kind != name and not name.startswith("$"):
        custom.setdefault(ORIGINAL_NAME, name[:TEXT_CHARACTERS_MAX])
    sent_id = read_text(event.get("uuid")) or read_text(properties.get("$insert_id"))
    session = read_text(properties.get("$session_id"))
    draft.add_event(
        Event(
            event_id=event_id(reception, sent_id, event, told),
            kind=kind,
            occur_time_ms=occurred,
            distinct_id=distinct_id,
            session_id=(
                None
                if distinct_id is None
                else session_id(reception, session, distinct_id, occurred)
            ),
            cookieless=distinct_id is None,
            auto_properties=auto_properties(name, properties, server=is_server(properties)),
            custom_properties=custom,
        )
    )


def _told_ms(event: JsonObject, properties: JsonObject, reception: Reception) -> int | None:
    """The sender's time. `$time` before `offset`: a repetition has the same one."""
    told = read_instant(event.get("timestamp")) or read_instant(properties.get("$time"))
    if told is not None:
        return told
    offset = read_number(event.get("offset"))
    if offset is None or reception.sent_ms is None:
        return None
    return reception.sent_ms - int(min(max(offset, 0), reception.sent_ms))


def _kind(name: str, properties: JsonObject) -> str:
    if name == "$autocapture":
        told = read_text(properties.get("$event_type")) or ""
        return _AUTOCAPTURED.get(told, "autocapture")
    return POSTHOG_NAMES.get(name) or make_kind(name.lstrip("$") or name)
