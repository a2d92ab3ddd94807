"""Asks again for erasures that did not come to their end.

Invariant: an erasure is a row in the ledger first and a message second; a message that was lost, or
refused for good, is published again here until the row is closed. Erasing twice is harmless
[profiles 9].
"""

from datetime import timedelta
from typing import Final

from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.services.jobs.desk import Desk
from appliance.storage.postgres.purge import StuckErasure, list_stuck_erasures

STUCK_AFTER: Final = timedelta(hours=1)
ERASE_SUBJECT: Final = "compliance.erase"
PAGE_ROWS: Final = 100
ERASURES_MAX: Final = 1000


async def repeat_stuck_erasures(desk: Desk) -> str:
    """Publish every erasure again that has been open for an hour without a change."""
    before = desk.clock.now() - STUCK_AFTER
    count, after_id = 0, ""
    while count < ERASURES_MAX:
        page = await list_stuck_erasures(
            desk.stores.postgres, before=before, after_id=after_id, limit=PAGE_ROWS
        )
        if not page:
            break
        await desk.lead.require()
        for erasure in page:
            await desk.stores.publisher.publish(
                ERASE_SUBJECT, encode_erasure(erasure), message_id=None, headers={}
            )
        count += len(page)
        after_id = page[-1].id
    return f"asked again for {count} erasures"


def encode_erasure(erasure: StuckErasure) -> bytes:
    """The message of the erasure worker."""
    return EraseMessage(
        project_id=erasure.project_id,
        request_id=erasure.id,
        profile_id=erasure.profile_id,
        external_id=erasure.external_id,
    ).to_binary()
