"""Whether a statement that its sender gave up still works in the event store.

Invariant: the server finishes what a client that went away has begun, so whoever must be alone
marks its statements by `log_comment` and looks before it begins.
"""

from typing import Final

from appliance.storage.clickhouse.client import ClickHouse

_RUNNING: Final = """
SELECT count() FROM system.processes WHERE Settings['log_comment'] = {mark:String}
"""


async def is_at_work(store: ClickHouse, mark: str) -> bool:
    """Whether a statement with this mark runs."""
    return (await store.rows(_RUNNING, {"mark": mark}))[0][0] != 0
