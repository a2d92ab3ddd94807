"""Identity of visitors who refused consent: every decision, no effect [ingestion 4].

Invariant: address and user agent feed the hash and nothing else; an identity that cannot be derived
drops the event and is never made up; a session id that is not stored is deterministic, so that a
retried batch resolves to the same ids. The effects are in `services/cookieless.py`.
"""

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.validate import COOKIELESS_PREFIX

SALT_BYTES: Final = 32
SESSION_GAP_MS: Final = 30 * 60 * 1000
"""Longest pause inside a session, on event time, inclusive [ingestion 4.5]."""
SESSION_STATE_SECONDS: Final = 24 * 3600
"""How long an untouched session state is kept; clean-up only."""

_ID_BYTES: Final = 16
_HALF_HOUR_MS: Final = 30 * 60 * 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"[0-9]{8}")
_SESSION_NAMESPACE: Final = uuid.UUID("6b1f0a6e-5d0c-5f7a-9a53-1c0e6cf2d1b4")
"""Ours alone; changing it would give retried batches other session ids."""


class AddressSource(StrEnum):
    """Where a client address came from [ingestion 4.1]."""

    CF_CONNECTING_IP = "cf_connecting_ip"
    TRUE_CLIENT_IP = "true_client_ip"
    X_FORWARDED_FOR = "x_forwarded_for"
    PEER_NO_HEADER = "peer_no_header"
    PEER_AFTER_REJECTED_HEADER = "peer_after_rejected_header"
    NONE_NO_PEER = "none_no_peer"
    REJECTED_NO_PEER = "rejected_no_peer"


class DegradeReason(StrEnum):
    """Why a session id is not what it would be with a healthy store [ingestion 4.5]."""

    CORRUPT_STATE = "corrupt_state"
    GET_FAILED = "get_failed"
    MINT_FAILED = "mint_failed"
    WRITE_FAILED = "write_failed"
    SLIDE_FAILED = "slide_failed"


class ClientAddress(Struct, frozen=True):
    """A canonical address, empty when there is none, and its source."""

    text: str
    source: AddressSource


def find_client_address(facts: RequestFacts) -> ClientAddress:
    """The address that the hash uses [ingestion 4.1, client_ip]."""
    arrived = False
    for header, source in (
        ("cf-connecting-ip", AddressSource.CF_CONNECTING_IP),
        ("true-client-ip", AddressSource.TRUE_CLIENT_IP),
        ("x-forwarded-for", AddressSource.X_FORWARDED_FOR),
    ):
        value = facts.headers.get(header, "")
        if not value:
            continue
        arrived = True
        candidate = value.partition(",")[0] if header == "x-forwarded-for" else value
        if address := canonical_address(candidate):
            return ClientAddress(address, source)
    if peer := canonical_address(facts.peer) or canonical_address(_host_of(facts.peer)):
        source = (
            AddressSource.PEER_AFTER_REJECTED_HEADER if arrived else AddressSource.PEER_NO_HEADER
        )
        return ClientAddress(peer, source)
    return ClientAddress(
        "", AddressSource.REJECTED_NO_PEER if arrived else AddressSource.NONE_NO_PEER
    )


def canonical_address(text: str) -> str:
    """An address literal in canonical form: no zone, unmapped, compressed; else empty."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text.strip())
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address)))
    return str(address)


def _host_of(peer: str) -> str:
    host, colon, _ = peer.rpartition(":")
    return host.removeprefix("[").removesuffix("]") if colon else peer


def day_of(occur_time_ms: int) -> date:
    """The UTC calendar day of an instant [ingestion 4.2]."""
    return (_EPOCH + timedelta(milliseconds=occur_time_ms)).date()


def is_open_day(day: date, now: datetime) -> bool:
    """Whether events of a day get an identity: today and yesterday, UTC [ingestion 4.2]."""
    today = now.astimezone(UTC).date()
    return day in {today, today - timedelta(days=1)}


def day_text(day: date) -> str:
    """`yyyymmdd`, as in keys and derived names."""
    return f"{day:%Y%m%d}"


def parse_day(text: str) -> date | None:
    """The day of a `yyyymmdd` text, None when it names none."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def salt_seconds_left(day: date, now: datetime) -> float | None:
    """Seconds until a day's salt expires: two days after the day began, whatever the moment of its
    making. None for a day that must not get a salt [ingestion 4.3, salt_ttl].
    """
    if not is_open_day(day, now):
        return None
    expires_at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=2)
    return (expires_at - now).total_seconds()


def salt_key(day: date) -> str:
    """The key of a day's salt, one for the whole deployment [storage 5]."""
    return f"cookieless:salt:{day_text(day)}"


def encode_salt(salt: bytes) -> bytes:
    """The stored form of a salt."""
    return base64.b64encode(salt)


def decode_salt(stored: bytes) -> bytes | None:
    """The salt in a stored value, None when it is none [ingestion 4.3]."""
    try:
        salt = base64.b64decode(stored, validate=True)
    except (binascii.Error, ValueError):
        return None
    return salt if len(salt) == SALT_BYTES else None


def derive_visitor_id(salt: bytes, project_id: str, address: str, user_agent: str) -> str:
    """The distinct id of a visitor for the day of the salt [ingestion 4.4, cookieless_id]."""
    message = b"\x00".join(
        text.encode("utf-8", "surrogateescape") for text in (project_id, address, user_agent)
    )
    digest = hmac.new(salt, message, hashlib.sha256).digest()[:_ID_BYTES]
    return COOKIELESS_PREFIX + base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")


class SessionState(Struct, frozen=True):
    """What is kept per visitor: the session and its latest instant."""

    session_id: str
    last_ms: int


class Join(Struct, frozen=True):
    """The event belongs to the stored session; `state` is what to store when the mark moves."""

    session_id: str
    state: SessionState | None


class Begin(Struct, frozen=True):
    """A new session begins; `replaces` tells whether a state stands in its place."""

    replaces: bool


class Stranded(Struct, frozen=True):
    """The event comes too late to join and must not disturb the live session."""

    session_id: str


def decide_session(
    state: SessionState | None, visitor_id: str, occur_time_ms: int
) -> Join | Begin | Stranded:
    """Which session an event belongs to, given the stored state [ingestion 4.5]."""
    if state is None:
        return Begin(replaces=False)
    gap = occur_time_ms - state.last_ms
    if gap > SESSION_GAP_MS:
        return Begin(replaces=True)
    if gap < -SESSION_GAP_MS:
        return Stranded(stranded_session_id(visitor_id, occur_time_ms))
    moved = SessionState(state.session_id, occur_time_ms) if gap > 0 else None
    return Join(state.session_id, moved)


def stranded_session_id(visitor_id: str, occur_time_ms: int) -> str:
    """The same for all late events of a visitor in one UTC half-hour."""
    half_hour = occur_time_ms // _HALF_HOUR_MS
    return _named(f"stranded:{visitor_id}:{half_hour}")


def fallback_session_id(visitor_id: str, occur_time_ms: int) -> str:
    """The same for all events of a visitor on one UTC day, for when no state can be had."""
    return _named(f"day:{visitor_id}:{day_text(day_of(occur_time_ms))}")


def _named(name: str) -> str:
    return str(uuid.uuid5(_SESSION_NAMESPACE, name))


def session_key(project_id: str, visitor_id: str) -> str:
    """The key of a visitor's session state [storage 5]."""
    return f"cookieless:sess:{project_id}:{visitor_id}"


def encode_session(state: SessionState) -> bytes:
    """The stored form of a session state."""
    return f"{state.session_id}|{state.last_ms}".encode()


def decode_session(stored: bytes) -> SessionState | None:
    """The state in a stored value, None when it is none."""
    match = _SESSION.fullmatch(stored)
    if match is None:
        return None
    return SessionState(match["id"].decode("ascii"), int(match["last"]))


_SESSION: Final = re.compile(
    rb"(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\|(?P<last>-?[0-9]{1,18})"
)
