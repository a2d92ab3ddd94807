"""From a change of state to a firing and the messages about it, in one transaction.

Invariant: whoever calls holds the alert's row. The change, the firing and one message for each
recipient are committed together, so a process killed at any moment has either told nothing and will
decide again, or left everything for whoever sends (`delivery.py`).
"""

from datetime import datetime

from appliance.base.ids import IdMaker
from appliance.domain.alerts.condition import Act, EndCause
from appliance.domain.alerts.messages import Numbers
from appliance.storage.postgres.alert_firings import (
    add_delivery,
    add_firing,
    add_test_firing,
    end_firing,
    find_open_firing,
)
from appliance.storage.postgres.alerts import AlertRow, list_members, list_webhooks
from appliance.storage.postgres.pool import Transaction


async def tell_change(
    transaction: Transaction,
    alert: AlertRow,
    act: Act,
    numbers: Numbers,
    *,
    ids: IdMaker,
    at: datetime,
) -> None:
    """Begin or end a firing, and queue the messages about it."""
    if act is Act.FIRED:
        firing_id = ids.make()
        await add_firing(transaction, firing_id, alert, numbers, at=at)
    else:
        found = await find_open_firing(transaction, alert.id)
        if found is None:
            return
        firing_id = found
        await end_firing(transaction, firing_id, cause=EndCause.RESOLVED, numbers=numbers, at=at)
    await _queue(transaction, alert.id, firing_id, act, ids=ids, at=at)


async def tell_test(
    transaction: Transaction, alert: AlertRow, numbers: Numbers, *, ids: IdMaker, at: datetime
) -> str:
    """Queue a marked test for every recipient; the id under which its firing is listed."""
    firing_id = ids.make()
    await add_test_firing(transaction, firing_id, alert, numbers, at=at)
    await _queue(transaction, alert.id, firing_id, Act.TEST, ids=ids, at=at)
    return firing_id


async def close_quietly(
    transaction: Transaction, alert_id: str, cause: EndCause, *, at: datetime
) -> None:
    """End an open firing without telling anybody: the alert asks something else by now."""
    firing_id = await find_open_firing(transaction, alert_id)
    if firing_id is not None:
        await end_firing(transaction, firing_id, cause=cause, numbers=None, at=at)


async def _queue(
    transaction: Transaction,
    alert_id: str,
    firing_id: str,
    act: Act,
    *,
    ids: IdMaker,
    at: datetime,
) -> None:
    members = await list_members(transaction, [alert_id])
    for customer_id in members[alert_id]:
        await add_delivery(transaction, ids.make(), firing_id, act, customer_id=customer_id, at=at)
    webhooks = await list_webhooks(transaction, [alert_id])
    for webhook in webhooks[alert_id]:
        await add_delivery(transaction, ids.make(), firing_id, act, webhook_id=webhook.id, at=at)
