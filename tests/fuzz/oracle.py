"""What the ingest door must make of bytes, by other libraries than the door's own.

Invariant: the protobuf library reads, protovalidate judges by the schema; of the rules of
[ingestion 2, 3, 4.2] only those stand here that the schema cannot say. Where the library refuses
JSON that the door may understand, nothing is expected but an answer.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import protovalidate
from msgspec import Struct

from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from tests.fuzz.inputs import JSON, Input

_RULES: Final = protovalidate.Validator()
_MINUTE_SECONDS: Final = 60


class Meaning(Struct, frozen=True, kw_only=True):
    """A request that the library can read: may it be taken, and what is stored of it then.

    `kept` has (event id in lower case, kind) of events that get an identity; `sent` counts all.
    """

    valid: bool
    sent: int
    kept: frozenset[tuple[str, str]] = frozenset()
    cookieless: bool = False


def read(given: Input) -> BatchCreateRequest | None:
    """The message, or None where the library finds none."""
    try:
        if given.content_type == JSON:
            return BatchCreateRequest.from_json(given.plain or b"{}")
        return BatchCreateRequest.from_binary(given.plain)
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None


def judge(request: BatchCreateRequest) -> Meaning:
    """What the door must do with a message."""
    events = request.events
    ids = [event.event_id for event in events]
    if len(set(ids)) != len(ids) or _breaks_rules(request):
        return Meaning(valid=False, sent=len(events))
    today = datetime.now(UTC).date()
    open_days = {today, today - timedelta(days=1)}
    kept = {
        (event.event_id.lower(), event.kind)
        for event in events
        if not event.cookieless or _day(event.occur_time) in open_days
    }
    return Meaning(
        valid=True,
        sent=len(events),
        kept=frozenset(kept),
        cookieless=any(event.cookieless for event in events),
    )


def _breaks_rules(request: BatchCreateRequest) -> bool:
    try:
        return bool(_RULES.collect_violations(request))
    except ValueError:
        # The rules are asked in another library, which refuses some fields that no schema knows;
        # JSON has only the known ones.
        known = BatchCreateRequest.from_json(request.to_json())
        return bool(_RULES.collect_violations(known))


def _day(occur_time: object) -> object:
    seconds = int(getattr(occur_time, "seconds", 0))
    try:
        return datetime.fromtimestamp(seconds, UTC).date()
    except (ValueError, OverflowError, OSError):
        return None
