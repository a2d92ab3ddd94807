"""An erasure that kills its own process, as `kill -9` does, before its n-th step.

Invariant: a step is a change outside this process: a statement, a removed or published message, a
line of the journal. Reading is none. Exit status 0 means that it came to its end before.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from appliance.base.clock import SystemClock
from appliance.config.endpoints import Endpoints, PostgresEndpoint, resolve_endpoints
from appliance.config.secrets import Secret
from appliance.services.erasing import Eraser
from appliance.services.erasure_journal import ErasureJournal
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.postgres.pool import Postgres, Transaction
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.erasure import PersonQueues
from appliance.storage.streams.publish import Publisher
from tests.support.engines import engine_settings

ROOT = Path(__file__).parents[2]
Change = Callable[..., Coroutine[Any, Any, Any]]


class Steps:
    """Counts changes, and ends the process before the chosen one."""

    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self._kill_at = kill_at

    def counting(self, change: Change) -> Change:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return await change(*args, **kwargs)

        return counted

    def watch(self, owner: type, name: str) -> None:
        setattr(owner, name, self.counting(getattr(owner, name)))


def kill_before(
    endpoints: Endpoints, data_dir: Path, journal: Path, request_id: str, step: int
) -> bool:
    """Run an erasure in a process that dies before that step; False when it had fewer steps."""
    url = endpoints.postgres.url.reveal()
    child = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.erasing_child"),
            *(str(data_dir), url.partition("?")[2], endpoints.clickhouse.database),
            *(str(journal), request_id, str(step)),
        ],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode in {0, -signal.SIGKILL}, child.stderr
    return child.returncode != 0


async def main(
    data_dir: str, schema: str, database: str, journal: str, request_id: str, step: str
) -> None:
    found = resolve_endpoints(engine_settings(Path(data_dir)))
    postgres = Postgres(
        PostgresEndpoint(
            url=Secret(f"{found.postgres.url.reveal()}?{schema}"), pool_size_max=4, external=False
        )
    )
    events = ClickHouse(msgspec.structs.replace(found.clickhouse, database=database))
    streams = Streams(found.nats, name="pug-test-child")
    stores = Stores(
        postgres=postgres, clickhouse=events, streams=streams, publisher=Publisher(streams)
    )
    steps = Steps(int(step))
    for owner, name in (
        (Transaction, "execute"),
        (ClickHouse, "command"),
        (PersonQueues, "remove"),
        (PersonQueues, "publish_remainder"),
        (ErasureJournal, "append"),
    ):
        steps.watch(owner, name)
    eraser = Eraser(stores, events, ErasureJournal(Path(journal)), SystemClock())
    await eraser.erase(request_id)
    for closing in (streams, events, postgres):
        await closing.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
