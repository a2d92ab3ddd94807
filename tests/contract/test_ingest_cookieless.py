"""The vectors of cookieless identity and of what a batch is answered [ingestion 4, 11]."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.cookieless import (
    SessionState,
    day_of,
    day_text,
    decide_session,
    derive_visitor_id,
    encode_session,
    find_client_address,
    is_open_day,
    parse_day,
    salt_key,
    salt_seconds_left,
    session_key,
)
from appliance.domain.ingest.event import CheckedEvent, parse_instant
from appliance.domain.ingest.rows import encode_rows
from appliance.domain.ingest.validate import check_batch
from appliance.services.cookieless import CookielessIdentities, Resolution
from tests.support.clocks import FixedClock, SeededRandomness
from tests.support.ephemeral import MemoryStore
from tests.support.properties import EVENT_ID, batch_of, facts_of, numbered_events, wire_event
from tests.support.vectors import cases_of

pytestmark = pytest.mark.anyio

_NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
_FACTS = facts_of({"User-Agent": "UA/1.0"}, peer="203.0.113.5:4711")
_COOKIELESS: dict[str, Any] = {"cookieless": True, "distinctId": None, "sessionId": None}
_TODAY = "2026-05-10T09:00:00Z"


def identities(store: MemoryStore, clock: FixedClock | None = None) -> CookielessIdentities:
    return CookielessIdentities(
        store, clock=clock or FixedClock(_NOW), randomness=SeededRandomness()
    )


def cookieless_events(*instants: str) -> tuple[CheckedEvent, ...]:
    events = numbered_events(len(instants), **_COOKIELESS)
    for event, instant in zip(events, instants, strict=True):
        event["occurTime"] = instant
    return check_batch(batch_of({"events": events}))


@pytest.mark.parametrize("case", cases_of("client_ip"))
def test_client_address(case: dict[str, Any]) -> None:
    found = find_client_address(facts_of(case["headers"], peer=case["peer"]))
    assert (found.text, found.source.value) == (case["ip"], case["source"])


@pytest.mark.parametrize("case", cases_of("cookieless_day"))
def test_day(case: dict[str, Any]) -> None:
    day = day_of(parse_instant(case["occur"]))
    assert (day_text(day), is_open_day(day, _NOW)) == (case["day"], case["accepted"])


@pytest.mark.parametrize("case", cases_of("salt_ttl"))
def test_salt_ttl(case: dict[str, Any]) -> None:
    day = parse_day(case["day"])
    now = datetime.fromisoformat(case["now"])
    assert (None if day is None else salt_seconds_left(day, now)) == case["ttl"]


@pytest.mark.parametrize("case", cases_of("cookieless_id"))
def test_visitor_id(case: dict[str, Any]) -> None:
    derived = derive_visitor_id(
        bytes.fromhex(case["saltHex"]), case["project"], case["ip"], case["userAgent"]
    )
    assert derived == case["distinctId"]


@pytest.mark.parametrize("case", cases_of("cookieless_session"))
async def test_session(case: dict[str, Any]) -> None:
    """Each event is a batch of its own; letters stand for session ids."""
    store = MemoryStore()
    service = identities(store, FixedClock(_NOW + timedelta(hours=14)))
    await _warm(service, store)
    key = session_key("prj", await _visitor(service))
    if "initial" in case:
        store.plant(key, case["initial"].encode())
    letters: dict[str, str] = {}
    if "race" in case:
        winner = "0b5f3f43-8a53-4b0e-b7b6-2f0d5c1f9a11"
        state = SessionState(winner, parse_instant(case["race"]["last"]))
        letters[case["race"]["session"]] = winner
        store.before_write = lambda: store.plant(key, encode_session(state))
    store.fail_reads = case.get("failure") == "reads"
    for step in case["events"]:
        if "failure" in step:
            store.fail_writes = step["failure"] == "writes"
            continue
        resolved = await service.resolve("prj", cookieless_events(step["occur"]), _FACTS)
        session_id = resolved.draft.events[0].session_id
        assert letters.setdefault(step["session"], session_id) == session_id
        expected = {step["degrade"]: 1} if "degrade" in step else {}
        assert {reason.value: n for reason, n in resolved.degraded.items()} == expected
    assert len(set(letters.values())) == len(letters)


async def _warm(service: CookielessIdentities, store: MemoryStore) -> None:
    """Have the salt in the process, and no session in the store."""
    await service.salts.salt_of(_NOW.date())
    store.entries = {
        key: entry for key, entry in store.entries.items() if key.startswith("cookieless:salt:")
    }


async def _visitor(service: CookielessIdentities) -> str:
    salt = await service.salts.salt_of(_NOW.date())
    return derive_visitor_id(salt, "prj", "203.0.113.5", "UA/1.0")


def test_a_stranded_id_never_equals_a_fallback_id() -> None:
    decision = decide_session(SessionState("x", 0), "cookieless-x", -3_600_000)
    assert getattr(decision, "session_id", "x") != "x"


def _consented(**changes: Any) -> dict[str, Any]:
    return wire_event(occurTime=_TODAY, **changes)


def _cookieless(instant: str, number: int = 1) -> dict[str, Any]:
    event_id = f"6f1d9f62-0c7b-4d0e-8a55-{number:012x}"
    return wire_event(eventId=event_id, occurTime=instant, **_COOKIELESS)


_SENT: dict[str, list[dict[str, Any]]] = {
    "empty": [],
    "all-consented": numbered_events(3),
    "duplicate-ids": [_consented(), _consented()],
    "duplicate-ids-case": [_consented(), _consented(eventId=EVENT_ID.upper())],
    "cookieless-old": [
        _consented(),
        _cookieless("2026-05-08T12:00:00Z", 1),
        _cookieless("2026-05-08T12:00:00Z", 2),
    ],
    "salt-down": [_consented(), _cookieless(_TODAY)],
    "salt-down-warm": [_cookieless(_TODAY)],
    "salt-corrupt": [_consented(), _cookieless(_TODAY)],
    "mixed-reasons": [_cookieless(_TODAY, 1), _cookieless("2026-05-03T12:00:00Z", 2)],
    "no-user-agent": [_consented(), _cookieless(_TODAY)],
    "no-user-agent-consented": [_consented()],
    "midnight": [_cookieless("2026-05-09T23:59:00Z", 1), _cookieless("2026-05-10T00:01:00Z", 2)],
}
_STORE_DOWN = {"salt-down", "salt-down-warm", "mixed-reasons"}
_SHORT_SALT = base64.b64encode(b"s" * 31)


async def _outcome(case_id: str) -> tuple[Resolution, MemoryStore]:
    store = MemoryStore()
    service = identities(store)
    if case_id == "salt-down-warm":
        await _warm(service, store)
    if case_id == "salt-corrupt":
        store.plant(salt_key(_NOW.date()), _SHORT_SALT)
    store.fail_reads = store.fail_writes = case_id in _STORE_DOWN
    facts = facts_of({}, peer="203.0.113.5:4711") if "no-user-agent" in case_id else _FACTS
    events = check_batch(batch_of({"events": _SENT[case_id]}))
    return await service.resolve("prj", events, facts), store


@pytest.mark.parametrize("case", cases_of("batch_outcome"))
async def test_batch_outcome(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(InvalidInputError) as caught:
            await _outcome(case["id"])
        assert caught.value.code.value == case["error"]["code"]
        assert caught.value.reason == case["error"]["reason"]
        return
    resolved, _ = await _outcome(case["id"])
    draft = resolved.draft
    response = {
        "accepted": len(draft.events),
        "dropped": sum(draft.dropped.values()),
        "droppedByReason": {reason.value: count for reason, count in draft.dropped.items()},
    }
    assert response == {"droppedByReason": {}, **case["response"]}
    assert encode_rows("prj", draft.events).count(b"\n") == case["published"]
    if case["id"] == "midnight":
        assert len({event.distinct_id for event in draft.events}) == 2
    if case["id"] == "salt-down-warm":
        assert {reason.value for reason in resolved.degraded} == {"get_failed"}


async def test_a_batch_without_cookieless_events_touches_no_store() -> None:
    _, store = await _outcome("all-consented")
    assert store.calls == 0


async def test_salts_expire_with_their_day_and_leave_the_process() -> None:
    """Two days kept at most; the key's life ends at day + 2 whenever it was made."""
    store, clock = MemoryStore(), FixedClock(_NOW)
    service = identities(store, clock)
    await service.resolve("prj", cookieless_events(_TODAY), _FACTS)
    assert store.ttls[salt_key(_NOW.date())] == int(timedelta(hours=38, minutes=30).total_seconds())
    clock.advance(2 * 86400)
    later = "2026-05-12T09:00:00Z"
    await service.resolve("prj", cookieless_events(later), _FACTS)
    assert set(service.salts.days) == {(_NOW + timedelta(days=2)).date()}


async def test_the_winner_of_a_salt_race_is_adopted() -> None:
    """Two processes that make the salt of a day at once derive the same visitor."""
    store = MemoryStore()
    first, second = identities(store), identities(store)
    store.before_write = lambda: None
    one = await first.resolve("prj", cookieless_events(_TODAY), _FACTS)
    two = await second.resolve("prj", cookieless_events(_TODAY), _FACTS)
    assert one.draft.events[0].distinct_id == two.draft.events[0].distinct_id
    assert one.draft.events[0].session_id == two.draft.events[0].session_id


async def test_a_batch_of_one_visit_writes_its_state_twice_at_most() -> None:
    """A thousand events of one visitor cost a handful of round trips, not thousands."""
    store = MemoryStore()
    service = identities(store)
    instants = [
        f"2026-05-10T09:{minute:02}:{second:02}Z" for minute in range(20) for second in (1, 31)
    ]
    resolved = await service.resolve("prj", cookieless_events(*instants), _FACTS)
    assert len({event.session_id for event in resolved.draft.events}) == 1
    assert store.calls <= 6
