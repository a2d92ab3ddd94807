"""The receipt of an erasure: what was found, what a last look found, what stays and why.

Invariant: made from the ledger alone, so it can be asked for at any time and says the same.
"""

from datetime import datetime

from msgspec import Struct

from appliance.base.errors import UnmetError
from appliance.domain.people.erasure import NOT_ERASED, ErasureStatus, ErasureView, Traces
from appliance.version import RELEASE


class Receipt(Struct, frozen=True, kw_only=True):
    """A receipt as it is handed out.

    `remaining` is what a count after the last deletion found under these ids; anything in it
    arrived later than the request. `mixed_messages` hold other people's events, too, and stay on
    the queue until its retention takes them.
    """

    receipt: str = "erasure"
    format: int = 1
    release: str
    request_id: str
    project_id: str
    profile_id: str
    external_id: str
    distinct_ids: tuple[str, ...]
    requested_at: datetime
    requested_by: str | None
    completed_at: datetime
    events_identified: int
    found: Traces
    remaining: Traces
    sweeps: int
    mixed_messages: int
    not_erased: tuple[str, ...] = NOT_ERASED


def make_receipt(view: ErasureView) -> Receipt:
    """The receipt of a completed request; raises UnmetError (`ERASURE_NOT_COMPLETED`)."""
    if (
        view.status is not ErasureStatus.COMPLETED
        or view.completed_at is None
        or view.receipt is None
    ):
        raise UnmetError(
            "ERASURE_NOT_COMPLETED",
            f"the request is {view.status}",
            hint="see `pug-appliance person status`",
        )
    return Receipt(
        release=RELEASE,
        request_id=view.id,
        project_id=view.project_id,
        profile_id=view.profile_id,
        external_id=view.external_id,
        distinct_ids=view.distinct_ids or (),
        requested_at=view.requested_at,
        requested_by=view.requested_by,
        completed_at=view.completed_at,
        events_identified=view.events_affected,
        found=view.receipt.found,
        remaining=view.receipt.remaining,
        sweeps=view.receipt.sweeps,
        mixed_messages=view.receipt.mixed_messages,
    )
