"""Settles a block whose insert ended in silence: finds what is stored, adds exactly what is not.

Invariant: what is there is read from the rows, not from the engine's deduplication log, and only
after every insert of this block that still runs has ended; what is added has a token of its own,
recorded before it is used. The loop ends when nothing is missing (decision 0002).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from appliance.base.errors import UnavailableError
from appliance.base.tasks import poll
from appliance.domain.ingest.blocks import (
    Block,
    Message,
    Row,
    identify,
    kept_rows,
    render_block,
)
from appliance.storage.clickhouse.inserts import EventInserts, Rollup

ROUNDS_MAX: Final = 8
RUNNING_SECONDS_MAX: Final = 90.0
RUNNING_POLL_SECONDS: Final = 0.2


def block_token(block: Block) -> str:
    """The token under which the engine sees the block; every repair has its own."""
    return f"{block.number}.{block.repairs}"


def block_columns(block: Block) -> dict[str, int | str]:
    """The columns that name the block in each of its rows."""
    return {"insert_block": block.number}


class Settler:
    """Brings half-stored blocks to their end."""

    def __init__(self, inserts: EventInserts) -> None:
        self._inserts = inserts

    async def settle(
        self,
        block: Block,
        messages: Sequence[Message],
        record: Callable[[Block], Awaitable[None]],
    ) -> tuple[Block, int]:
        """Complete the block; returns it and how many inserts that took.

        Raises UnavailableError when the store is away or does not come to rest.
        """
        rows = tuple(row for row, _ in kept_rows(messages, block))
        repaired = 0
        for _ in range(ROUNDS_MAX):
            await self._wait_for_running(block)
            stored = await self._inserts.find_stored({identify(row) for row in rows})
            absent = tuple(row for row in rows if identify(row) not in stored)
            unfed = await self._inserts.find_unfed(block.number, rows)
            if not absent and not unfed:
                return block, repaired
            block = msgspec.structs.replace(block, repairs=block.repairs + 1)
            await record(block)
            repaired += await self._add(block, messages, rows, absent, unfed)
        raise UnavailableError("BLOCK_UNSETTLED", "the event store does not keep what it confirms")

    async def _add(
        self,
        block: Block,
        messages: Sequence[Message],
        rows: Sequence[Row],
        absent: Sequence[Row],
        unfed: Sequence[Rollup],
    ) -> int:
        if len(absent) == len(rows) and frozenset(unfed) == self._inserts.fed_by(rows):
            await self._inserts.insert_events(
                render_block(messages, block, block_columns(block)), token=block_token(block)
            )
            return 1
        count = 0
        if absent:
            await self._inserts.insert_events(
                _raw_only(messages, block, absent), token=f"{block_token(block)}.raw"
            )
            count += 1
        for rollup in unfed:
            columns = {**block_columns(block), "repair_target": rollup.value}
            await self._inserts.insert_repair(
                render_block(messages, block, columns), token=f"{block_token(block)}.{rollup.value}"
            )
            count += 1
        return count

    async def _wait_for_running(self, block: Block) -> None:
        async def at_rest() -> bool | None:
            return await self._inserts.count_running(f"{block.number}.") == 0 or None

        if not await poll(
            at_rest, every_seconds=RUNNING_POLL_SECONDS, timeout_seconds=RUNNING_SECONDS_MAX
        ):
            raise UnavailableError("BLOCK_UNSETTLED", "an insert of the block does not end")


def _raw_only(
    messages: Sequence[Message], block: Block, absent: Sequence[Row]
) -> tuple[bytes, ...]:
    """The absent rows with a negative block number, which the feeds of the roll-ups skip."""
    wanted = {identify(row) for row in absent}
    opening = msgspec.json.encode({"insert_block": -block.number})[:-1] + b","
    return tuple(
        opening + line[1:] + b"\n"
        for row, line in kept_rows(messages, block)
        if identify(row) in wanted
    )
