"""What the calls of another product's client become: events, identities and a few refusals.

Invariant: every event here passes `domain/ingest/validate.py` and every identity the rules of
Identify, whatever was sent; what cannot be told in our words is counted under a reason, alone,
while the rest of its batch goes on.
"""

import hashlib
import re
import uuid
from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from appliance.domain.compat.reading import JsonObject
from appliance.domain.ingest.event import INSTANT_MAX_MS, INSTANT_MIN_MS, Event, Properties
from appliance.domain.ingest.validate import COOKIELESS_PREFIX
from appliance.domain.people.traits import Properties as Traits

ANONYMOUS_PREFIX: Final = "anon-"
"""What every id begins with that may be merged into a person [profiles 2.1]."""
ID_CHARACTERS_MAX: Final = 255
SKEW_STEP_MS: Final = 900_000
"""Clocks are put right in steps, so that a repeated call gets the same time: with a time that
depends on the moment of arrival it would be another event."""
SKEW_MAX_MS: Final = 100 * 366 * 86_400_000
"""A clock further off than a century says nothing; one that starts in 1970 does."""

_NAMESPACE: Final = uuid.UUID("0f1d4c1e-7a1b-5d62-9c35-2f6a1f0f5b8e")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_V7: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
_OF_THE_SENDING: Final = frozenset({"sentAt", "sent_at", "offset"})
_DAY_MS: Final = 86_400_000
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Untold(StrEnum):
    """Why a call became nothing; the label of `compat.calls_refused_total`."""

    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_TYPE = "unknown_type"
    NO_NAME = "no_name"
    NO_IDENTITY = "no_identity"
    UNUSABLE_IDENTITY = "unusable_identity"
    ANONYMOUS_TRAITS = "anonymous_traits"
    GROUP_TRAITS = "group_traits"
    RECORDING = "recording"


class Identity(Struct, frozen=True, kw_only=True):
    """One Identify call [profiles 2.1]; `anonymous_id` is empty or begins with `anon-`. `once`:
    the traits count only where there are none yet.
    """

    external_id: str
    traits: Traits = {}
    anonymous_id: str = ""
    once: bool = False


class Mapped(Struct, frozen=True, kw_only=True):
    """A whole request in our words. `from_server`: its sender is no visitor, so the address and
    the user agent of the request say nothing about anybody.
    """

    events: tuple[Event, ...] = ()
    identities: tuple[Identity, ...] = ()
    untold: dict[Untold, int] = {}
    from_server: bool = False


class Reception(Struct, frozen=True, kw_only=True):
    """Where and when a request came in; `sent_ms` is what its sender's clock said."""

    project_id: str
    received_ms: int
    sent_ms: int | None = None

    @property
    def skew_ms(self) -> int:
        """What has to be added to the sender's times, a multiple of `SKEW_STEP_MS`."""
        if self.sent_ms is None or abs(self.received_ms - self.sent_ms) > SKEW_MAX_MS:
            return 0
        return round((self.received_ms - self.sent_ms) / SKEW_STEP_MS) * SKEW_STEP_MS

    def occurred_ms(self, told_ms: int | None) -> int:
        """When something happened whose sender says `told_ms`; now, where it says nothing."""
        if told_ms is None:
            return self.received_ms
        return min(max(told_ms + self.skew_ms, INSTANT_MIN_MS), INSTANT_MAX_MS)


class Draft:
    """Collects what the calls of one request become; the first event of an id counts."""

    def __init__(self, reception: Reception) -> None:
        self.reception = reception
        self.from_server = False
        self._events: dict[str, Event] = {}
        self._identities: list[Identity] = []
        self._untold: Counter[Untold] = Counter()

    def refuse(self, why: Untold) -> None:
        """Count a call that becomes nothing."""
        self._untold[why] += 1

    def add_event(self, event: Event) -> None:
        """Keep an event, unless its id was there before."""
        assert event.event_id is not None
        self._events.setdefault(event.event_id, event)

    def identify(
        self, external_id: str, traits: Traits, anonymous_id: str = "", *, once: bool = False
    ) -> None:
        """Keep an identity, unless its name is one that nobody may have."""
        if not (is_usable(external_id) and is_usable(anonymous_id)):
            self.refuse(Untold.UNUSABLE_IDENTITY)
            return
        self._identities.append(
            Identity(external_id=external_id, traits=traits, anonymous_id=anonymous_id, once=once)
        )

    def finish(self) -> Mapped:
        """Everything collected."""
        return Mapped(
            events=tuple(self._events.values()),
            identities=tuple(self._identities),
            untold=dict(self._untold),
            from_server=self.from_server,
        )


def is_usable(identity: str) -> bool:
    """Whether somebody may be called so: no store takes U+0000, and one prefix is the server's."""
    return "\0" not in identity and not identity.startswith(COOKIELESS_PREFIX)


def anonymous(raw: str) -> str:
    """An anonymous id of another client as one of ours; the same for the same."""
    text = raw if raw.startswith(ANONYMOUS_PREFIX) else ANONYMOUS_PREFIX + raw
    if len(text) <= ID_CHARACTERS_MAX:
        return text
    return ANONYMOUS_PREFIX + hashlib.blake2b(raw.encode(), digest_size=20).hexdigest()


def looks_anonymous(raw: str) -> bool:
    """Whether an id has the form of those that PostHog's clients make up for visitors."""
    return _UUID_V7.fullmatch(raw) is not None


def event_id(
    reception: Reception, sent: str | None, content: JsonObject, told_ms: int | None
) -> str:
    """The event's UUID: the sender's own, one made of the sender's id, or, without any, one made of
    the whole call, which its time tells apart from others. So a repeated call is one event.
    """
    if sent is not None:
        return sent.lower() if _UUID.fullmatch(sent) else _name(reception, "id", sent)
    moment = reception.received_ms if told_ms is None else told_ms
    kept = {key: value for key, value in content.items() if key not in _OF_THE_SENDING}
    digest = hashlib.blake2b(_ENCODER.encode(kept), digest_size=20).hexdigest()
    return _name(reception, "content", f"{moment}\0{digest}")


def session_id(reception: Reception, sent: str | None, distinct_id: str, occur_ms: int) -> str:
    """The sender's session, or one for each visitor and UTC day where it has none."""
    if sent is None:
        return _name(reception, "day", f"{occur_ms // _DAY_MS}\0{distinct_id}")
    if _UUID.fullmatch(sent):
        return sent.lower()
    return _name(reception, "session", f"{sent}\0{distinct_id}")


def _name(reception: Reception, what: str, text: str) -> str:
    safe = f"{reception.project_id}\0{what}\0{text}".encode("utf-8", "replace")
    return str(uuid.uuid5(_NAMESPACE, safe.decode()))


def put(properties: Properties, key: str, value: str | float | None) -> None:
    """Set an auto property when there is something to set; an empty text is nothing."""
    if value is not None and value != "":
        properties[key] = value
