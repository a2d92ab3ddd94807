"""Records of files as events."""

import json
from collections.abc import Mapping

import pytest

from appliance.domain.ingest.event import Batch, CheckedEvent, Event, Instant
from appliance.domain.ingest.validate import validate_envelope
from appliance.domain.moving.accept import accept_events
from appliance.domain.moving.records import Columns, read_record
from appliance.domain.moving.values import Refused, read_time, read_value
from tests.support.properties import EVENT_ID, SESSION_ID, typed

BASE = {
    "event_id": EVENT_ID,
    "kind": "page_view",
    "occur_time": "2026-03-04T05:06:07.089Z",
    "distinct_id": "cust-42",
    "session_id": SESSION_ID,
}
AT = 1_772_600_767_089


def read(record: Mapping[str, object], **columns: object) -> Event:
    return read_record("p1", record, Columns(**columns))  # type: ignore[arg-type]


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in BASE.items() if name not in names}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("2026-03-04T05:06:07.089Z", AT),
        ("2026-03-04 05:06:07.089", AT),
        ("2026-03-04 05:06:07.089123 UTC", AT),
        ("2026-03-04T06:06:07.089+01:00", AT),
        ("2026-03-04 06:06:07.089+01", AT),
        ("2026-03-04T06:06:07.089+0100", AT),
        ("2026-03-04 05:06", AT - 7_089),
        ("2026-03-04", AT - 7_089 - 6 * 60_000 - 5 * 3_600_000),
        (AT, AT),
        (AT * 1000, AT),
        (AT * 1_000_000, AT),
        (AT // 1000, AT - 89),
        (str(AT), AT),
        (f"{AT // 1000}.089", AT),
        (-1, -1000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times(raw: object, wanted: int) -> None:
    """Text with and without a zone; numbers by their size."""
    assert read_time(raw) == wanted


@pytest.mark.parametrize(
    "raw",
    [
        10**30,
        1e300,
        float("nan"),
        10**400,
        "",
        "soon",
        "2026-13-01",
        "2026-03-04T25:00:00Z",
        True,
        None,
        [],
        "04.03.2026",
    ],
)
def test_what_is_no_time_is_refused(raw: object) -> None:
    """Nothing is guessed."""
    with pytest.raises(Refused):
        read_time(raw)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("1", "1"),
        (1, 1),
        (1.0, 1.0),
        (True, True),
        (None, None),
        (2**63, float(2**63)),
        ([1, {"a": None}], '[1,{"a":null}]'),
        ({"a": 1}, '{"a":1}'),
        ({"intValue": "9007199254740993"}, 9007199254740993),
        ({"double_value": 1}, 1.0),
        ({"boolValue": False}, False),
        ({"stringValue": ""}, ""),
        ({"timestampValue": "2026-03-04T05:06:07.089Z"}, Instant(AT)),
    ],
)
def test_values(raw: object, wanted: object) -> None:
    """JSON values and those of the wire have one slot each."""
    found = read_value(raw)
    assert (type(found), found) == (type(wanted), wanted)


@pytest.mark.parametrize("raw", [{"intValue": "x"}, {"timestampValue": "soon"}, {"boolValue": 1}])
def test_a_typed_value_that_lies_is_refused(raw: object) -> None:
    """What says its type must have it."""
    with pytest.raises(Refused):
        read_value(raw)


def test_nested_and_flat_records_are_the_same_event() -> None:
    """Properties in maps, in one map, or as columns of their own."""
    nested = read({**BASE, "auto_properties": {"$os": "x"}, "custom_properties": {"n": 1}})
    mixed = read({**BASE, "properties": {"$os": "x", "n": 1}})
    flat = read({**BASE, "$os": "x", "n": 1, "project_id": "p9", "insert_time": "now", "e": ""})
    text = read({**BASE, "autoProperties": '{"$os":"x"}', "customProperties": '{"n":1}'})
    assert nested == mixed == flat == text
    assert typed(nested.custom_properties) == [("n", int, 1)]


def test_columns_are_renamed_ignored_and_completed() -> None:
    """A table of somebody else, with a mapping."""
    row = {"When": "2026-03-04", "User ID": 7, "Secret": "x", "Land": "AT", "Amount": 3, "none": ""}
    event = read(
        row,
        renamed={"When": "occur_time", "User ID": "distinct_id", "Land": "$country"},
        ignored=frozenset({"Secret"}),
        kind="order",
        fractions=frozenset({"Amount"}),
    )
    assert (event.kind, event.distinct_id) == ("order", "7")
    assert event.auto_properties == {"$country": "AT"}
    assert typed(event.custom_properties) == [("Amount", float, 3.0)]
    assert validate_envelope("p1", Batch(events=(event,))) == ()


def test_missing_ids_follow_from_the_record() -> None:
    """The same record is the same event; another project, person or day is not."""
    bare = without("event_id", "session_id")
    first, again = read(bare), read(dict(bare))
    assert (first.event_id, first.session_id) == (again.event_id, again.session_id)
    assert read({**bare, "n": 1}).event_id != first.event_id
    assert read({**bare, "n": 1}).session_id == first.session_id
    assert read({**bare, "distinct_id": "x"}).session_id != first.session_id
    assert read({**bare, "occur_time": "2026-03-05"}).session_id != first.session_id
    other = read_record("p2", bare, Columns())
    assert other.event_id != first.event_id
    named = read({**BASE, "event_id": "order-17"})
    assert named.event_id == read({**BASE, "event_id": "order-17", "n": 1}).event_id


@pytest.mark.parametrize(
    "record",
    [
        without("kind"),
        without("distinct_id"),
        without("occur_time"),
        {**BASE, "distinct_id": {"a": 1}},
        {**BASE, "distinct_id": "x" * 1025},
        {**BASE, "auto_properties": "{"},
        {**BASE, "custom_properties": [1]},
        {**BASE, "cookieless": True},
    ],
)
def test_what_cannot_be_an_event_is_refused(record: Mapping[str, object]) -> None:
    """Each with a sentence for people."""
    with pytest.raises(Refused) as refusal:
        read(record)
    assert str(refusal.value)


def test_rules_refuse_one_line_and_not_its_neighbours() -> None:
    """The rules are those of the door, applied to each line alone."""
    good = read({**BASE, "auto_properties": {"$url": "https://a.example/b"}})
    bad = [
        read({**BASE, "kind": "two words"}),
        read({**BASE, "custom_properties": {"$x": 1}}),
        read({**BASE, "n": "x" * 1025}),
    ]
    verdicts = accept_events("p1", [bad[0], good, *bad[1:]])
    assert [type(one) for one in verdicts] == [str, CheckedEvent, str, str]
    assert str(verdicts[0]).startswith("kind ")
    assert "1024" in str(verdicts[3])


def test_what_the_file_says_stands_and_what_follows_is_added() -> None:
    """Channel and bot signs of an export are kept; an address never is."""
    auto = {"$url": "https://a.example/b", "$ip": "192.0.2.1", "$bot_score": 3, "$locale": "de_at"}
    (fresh,) = accept_events("p1", [read({**BASE, "auto_properties": dict(auto)})])
    assert isinstance(fresh, CheckedEvent)
    assert fresh.auto_properties == {
        "$url": "https://a.example/b",
        "$bot_score": 3,
        "$locale": "de-AT",
        "$pathname": "/b",
        "$hostname": "a.example",
        "$channel": "Direct",
    }
    told = {**auto, "$channel": "Email", "$referrerDomain": "b.example"}
    (kept,) = accept_events("p1", [read({**BASE, "auto_properties": told})])
    assert isinstance(kept, CheckedEvent)
    assert kept.auto_properties["$channel"] == "Email"
    assert kept.auto_properties["$referrerDomain"] == "b.example"
    (again,) = accept_events(
        "p1", [read({**BASE, "auto_properties": json.loads(json.dumps(fresh.auto_properties))})]
    )
    assert again == fresh
