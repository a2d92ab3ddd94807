"""Rows, blocks and the chain around them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.base.errors import InvalidInputError
from appliance.domain.ingest.chain import ENRICHMENT, Draft, StepName, run_steps
from appliance.domain.ingest.event import CheckedEvent
from appliance.domain.ingest.facts import Count, RequestFacts, gather_facts
from appliance.domain.ingest.promotion import PROMOTED, ColumnKind
from appliance.domain.ingest.rows import encode_blocks, encode_rows
from appliance.domain.ingest.validate import VIOLATIONS_MAX, check_batch, validate_batch
from tests.support.clocks import FixedClock
from tests.support.properties import batch_of, facts_of, numbered_events, wire_event


def checked(count: int, **changes: object) -> tuple[CheckedEvent, ...]:
    return check_batch(batch_of({"events": numbered_events(count, **changes)}))


def test_a_row_has_the_columns_that_differ_from_their_default() -> None:
    events = checked(
        1,
        autoProperties={"$os": {"stringValue": "iOS"}, "$mobile": {"boolValue": False}},
        customProperties={"n": {"intValue": "5"}},
    )
    assert json.loads(encode_rows("prj", events)) == {
        "event_id": "6f1d9f62-0c7b-4d0e-8a55-000000000000",
        "project_id": "prj",
        "distinct_id": "cust-42",
        "session_id": "c3b1a7e4-5d20-4f7e-9a10-0b8c6d4e2f11",
        "kind": "page_view",
        "occur_time": "2026-03-04 05:06:07.089",
        "os": "iOS",
        "custom_properties": {"n": "i5"},
    }


@given(st.integers(1, 40), st.integers(400, 5000))
def test_blocks_keep_order_and_limit(count: int, bytes_max: int) -> None:
    blocks = encode_blocks("prj", checked(count), bytes_max=bytes_max)
    rows = [json.loads(line) for block in blocks for line in block.body.splitlines()]
    assert [int(row["event_id"][-12:], 16) for row in rows] == list(range(count))
    assert all(len(block.body) <= bytes_max for block in blocks)
    assert all(block.body.count(b"\n") == block.rows for block in blocks)


def test_no_events_no_block() -> None:
    assert encode_blocks("prj", (), bytes_max=10) == ()


def test_an_event_that_fits_no_block_is_refused_for_good() -> None:
    with pytest.raises(InvalidInputError):
        encode_blocks("prj", checked(3), bytes_max=100)


def test_promoted_properties_are_the_contracts() -> None:
    """26 columns, 20 event and 16 session dimensions [storage 2.2]."""
    assert len(PROMOTED) == 26
    assert sum(promoted.event_dimension for promoted in PROMOTED) == 20
    assert sum(promoted.session_dimension for promoted in PROMOTED) == 16
    assert [promoted.column for promoted in PROMOTED if promoted.kind is not ColumnKind.TEXT] == [
        "bot_score",
        "verified_bot",
        "mobile",
    ]


def test_steps_are_counted_and_measured_in_order() -> None:
    facts = facts_of({"CF-Bot-Score": "x", "CF-IPLatitude": "NaN", "Cookie": "secret"})
    events = checked(2, autoProperties={"$ip": {"stringValue": "x"}, "$url": {"stringValue": "y"}})
    passage = run_steps(ENRICHMENT, Draft(events=events), facts, clock=FixedClock())
    assert [report.name for report in passage.reports] == list(StepName)
    assert passage.draft.counts == {
        Count.IP_STRIPPED: 2,
        Count.GEO_NOT_A_NUMBER: 1,
        Count.BOT_SCORE_UNPARSEABLE: 1,
        Count.URL_NOT_WEB: 2,
    }
    assert passage.draft.events[0].auto_properties == {
        "$url": "y",
        "$latitude": "NaN",
    }


def test_only_named_headers_become_facts() -> None:
    facts = gather_facts([("X-Api-Key", "prv_x"), ("USER-agent", "a"), ("user-agent", "b")])
    assert facts == RequestFacts(headers={"user-agent": "a"})


def test_violations_are_bounded() -> None:
    bad = {"events": [wire_event(eventId=None, kind=None) for _ in range(1000)]}
    violations = validate_batch(batch_of(bad))
    assert len(violations) == VIOLATIONS_MAX


def test_bytes_that_are_not_text_after_decoding_do_not_fail_the_batch() -> None:
    """A page at /a%FFb is one event, with U+FFFD in its path [ingestion 16.1]."""
    events = checked(1, autoProperties={"$url": {"stringValue": "https://a.test/a%FFb"}})
    run_steps(ENRICHMENT, Draft(events=events), RequestFacts(), clock=FixedClock())
    assert json.loads(encode_rows("prj", events))["pathname"] == "/a\ufffdb"
