"""The vectors of validation, promotion and reading back [ingestion 2, 3, 13, 14]."""

import json
from typing import Any

import pytest

from appliance.domain.ingest.event import parse_instant
from appliance.domain.ingest.promotion import read_back
from appliance.domain.ingest.rows import encode_rows, split_auto_properties
from appliance.domain.ingest.slots import tag, untag
from appliance.domain.ingest.validate import check_batch, validate_batch, validate_envelope
from tests.support.properties import (
    batch_of,
    numbered_events,
    properties_of,
    typed,
    wire_event,
)
from tests.support.vectors import cases_of


@pytest.mark.parametrize("case", cases_of("batch_validation"))
def test_request(case: dict[str, Any]) -> None:
    request = case.get("request") or {"events": numbered_events(case["repeat"])}
    batch = batch_of(request)
    violations = validate_batch(batch)
    assert sorted(found.field for found in violations) == sorted(
        expected["field"] for expected in case.get("violations", [])
    )
    assert (not violations) is case["accept"]
    assert all(found.description for found in violations)
    if case["accept"]:
        assert len(check_batch(batch)) == len(batch.events)


@pytest.mark.parametrize("case", cases_of("envelope_validation"))
def test_envelope(case: dict[str, Any]) -> None:
    request = dict(case["request"])
    violations = validate_envelope(request.pop("projectId", None), batch_of(request))
    assert [found.field for found in violations] == [
        expected["field"] for expected in case.get("violations", [])
    ]
    assert (not violations) is case["accept"]


@pytest.mark.parametrize("case", cases_of("promotion"))
def test_promotion(case: dict[str, Any]) -> None:
    split = split_auto_properties(properties_of(case["auto"]))
    assert [(key, type(value), value) for key, value in split.columns.items()] == [
        (key, type(value), value) for key, value in case["columns"].items()
    ]
    assert split.rest == {key: tag(value) for key, value in properties_of(case["rest"]).items()}


@pytest.mark.parametrize("case", cases_of("read_back"))
def test_read_back(case: dict[str, Any]) -> None:
    assert typed(read_back(case["columns"], case["map"])) == typed(case["out"])


@pytest.mark.parametrize("case", cases_of("event_identity"))
def test_event_identity(case: dict[str, Any]) -> None:
    """Rows carry what the identity is made of: minute, kind and the 128-bit id."""
    assert (_identity(case["first"]) == _identity(case["second"])) is case["sameEvent"]


def _identity(event: dict[str, Any]) -> tuple[str, str, str]:
    events = check_batch(batch_of({"events": [wire_event(**event)]}))
    row = json.loads(encode_rows("prj", events))
    assert parse_instant(row["occur_time"].replace(" ", "T") + "Z") == events[0].occur_time_ms
    return row["occur_time"][: len("2026-02-28 23:59")], row["kind"], row["event_id"].lower()


def test_every_slot_survives_the_store() -> None:
    properties = properties_of(
        {
            "$a": {"stringValue": "12"},
            "$b": {"intValue": "-9007199254740993"},
            "$c": {"doubleValue": 10},
            "$d": {"boolValue": True},
            "$e": {"timestampValue": "0001-01-01T00:00:00Z"},
            "$f": {"stringValue": ""},
        }
    )
    split = split_auto_properties(properties)
    assert typed({key: untag(text) for key, text in split.rest.items()}) == typed(properties)
