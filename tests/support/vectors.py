"""The shared input/expectation pairs of `tests/contract/test-vectors.json`, by section and id.

Invariant: a section is either served by a test module or listed in `UNSERVED` with the reason;
`tests/contract/test_ingest_sections.py` fails for any other, and for a case with an unknown key.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pytest

_FILE: Final = Path(__file__).parent.parent / "contract" / "test-vectors.json"

Case = dict[str, Any]

SERVED: Final = {
    "attribution": {"id", "in", "note", "out", "unsure"},
    "attribution_properties": {"after", "before", "id", "note"},
    "paid_medium": {"in", "out"},
    "google_host": {"in", "out"},
    "locale": {"in", "out"},
    "geo_headers": {"headers", "id", "note", "out"},
    "enrichment": {"after", "before", "headers", "id", "note"},
    "user_agent": {"in", "note", "out", "unsure"},
    "client_ip": {"headers", "id", "ip", "note", "peer", "source"},
    "cookieless_day": {"accepted", "day", "note", "occur"},
    "salt_ttl": {"day", "note", "now", "ttl"},
    "cookieless_id": {"distinctId", "id", "ip", "project", "saltHex", "userAgent"},
    "cookieless_session": {"events", "failure", "id", "initial", "note", "race", "stranded"},
    "batch_validation": {"accept", "id", "note", "repeat", "request", "violations"},
    "envelope_validation": {"accept", "id", "note", "request", "violations"},
    "batch_outcome": {"error", "id", "note", "published", "response", "send", "unsure"},
    "event_identity": {"first", "id", "note", "sameEvent", "second"},
    "promotion": {"auto", "columns", "id", "note", "rest"},
    "read_back": {"columns", "map", "note", "out"},
    "retry_delays": {"deadLetter", "delay", "delivery", "maxDeliver"},
    "worker_disposition": {"delivery", "disposition", "situation", "worker"},
    "email_disposition": {"outcome", "provider", "situation"},
    "display_name": {"in", "note", "out"},
    "identify_validation": {"accept", "id", "note", "request", "violations"},
    "merge": {"base", "out", "overlay"},
    "identify_flow": {
        *("id", "note", "given", "identify"),
        *("profile", "softDeleted", "devices", "currentAlias", "publishes"),
    },
    "persons": {"id", "note", "persons", "state", "totalEventsIdentitySet"},
    "person_get": {"error", "get", "note", "person", "state"},
    "activity": {"events", "note", "out"},
    "page_token": {"accept", "note", "token"},
    "erasure_request": {
        "call",
        "error",
        "given",
        "id",
        "ledger",
        "ledgerRows",
        "note",
        "published",
        "returns",
        "softDeleted",
    },
    "erasure_execute": {
        "aliases",
        "delivery",
        "disposition",
        "events",
        "eventsIdentified",
        "failure",
        "frozenDistinctIds",
        "frozenSessionIds",
        "id",
        "ledger",
        "note",
        "remainingEvents",
        "remainingSessionRollups",
        "sessionRollups",
        "status",
        "unsure",
    },
}
"""Sections with a test, and the keys that their cases may have."""

_PEOPLE: Final = "people, identify and erasure come with a later issue"
UNSERVED: Final = {}
"""Sections without a test in the ingest rooms, and why."""

DEVIATIONS: Final = {
    ("batch_outcome", "queue-down"): (
        "ours answers `unavailable` with Retry-After instead of `internal`: the SDKs resend either"
        " way; shown by the end-to-end fault tests"
    ),
}
"""Cases that we answer differently on purpose, and why."""


@lru_cache(maxsize=1)
def load_sections() -> dict[str, list[Case]]:
    """Every section with its cases."""
    document = json.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: section["cases"]
        for name, section in document.items()
        if isinstance(section, dict) and "cases" in section
    }


def cases_of(section: str) -> list[Any]:
    """The cases of a section as pytest parameters, named by id or place."""
    return [
        pytest.param(case, id=f"{section}-{case.get('id', place)}")
        for place, case in enumerate(load_sections()[section])
        if (section, case.get("id")) not in DEVIATIONS
    ]
