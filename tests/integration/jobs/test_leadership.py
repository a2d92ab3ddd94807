"""One leader at a time, and what a leader that lost its lease can still do: nothing."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime

import pytest

from appliance.base.errors import ApplianceError, ConflictError
from appliance.services.jobs.leadership import Leadership
from tests.support.jobs import JobStage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

ADD = "INSERT INTO orgs (id, display_name) VALUES ($1, 'by a leader')"


async def lost(act: Awaitable[object]) -> None:
    with pytest.raises(ConflictError) as raised:
        await act
    assert raised.value.reason == "LEASE_LOST"


async def act(lead: Leadership, name: str) -> None:
    async with lead.fenced() as transaction:
        await transaction.execute(ADD, name)


async def test_one_at_a_time(stage: JobStage) -> None:
    """The second waits until the lease is over, renewed or not."""
    first, second = stage.lead("a"), stage.lead("b")
    assert await first.take()
    assert not await second.take()
    stage.clock.advance(15)
    await first.renew()
    stage.clock.advance(15)
    assert first.leads
    assert not await second.take()
    stage.clock.advance(6)
    assert not first.leads
    assert await second.take()
    await lost(first.renew())


async def test_all_at_once(stage: JobStage) -> None:
    """Of many that ask at the same moment exactly one leads."""
    leads = [stage.lead(str(number)) for number in range(8)]
    assert sum(await asyncio.gather(*(lead.take() for lead in leads))) == 1


async def test_released(stage: JobStage) -> None:
    """Whoever goes orderly is followed at once."""
    first, second = await stage.leading("a"), stage.lead("b")
    await first.release()
    assert await second.take()
    await lost(act(first, "late"))


async def test_acts_while_it_leads(stage: JobStage) -> None:
    first = await stage.leading("a")
    await act(first, "in time")
    await first.require()
    assert await stage.count("orgs") == 1


async def test_late_leader_writes_nothing(stage: JobStage) -> None:
    """A leader that does not know of its loss is refused by the database; without the fence it
    would have written."""
    first, second = await stage.leading("a"), stage.lead("b")
    stage.clock.advance(21)
    assert await second.take()
    first._trusted_until = float("inf")  # it was asleep: its own clock has not told it
    assert first.leads
    await lost(act(first, "fenced"))
    await lost(first.require())
    await lost(first.renew())
    assert await stage.count("orgs") == 0
    await stage.database.execute(ADD, "unfenced")
    assert await stage.count("orgs") == 1


async def test_own_earlier_term(stage: JobStage) -> None:
    """The same process in a later term does not vouch for what it began in an earlier one."""
    lead = await stage.leading("a")
    earlier = lead._lease
    stage.clock.advance(21)
    assert await lead.take()
    lead._lease = earlier
    await lost(act(lead, "late"))


async def test_nobody_takes_over_inside_a_transaction(stage: JobStage) -> None:
    """Taking over waits for the end of what the leader has begun."""
    first, second = await stage.leading("a"), stage.lead("b")
    async with first.fenced() as transaction:
        await transaction.execute(ADD, "in time")
        stage.clock.advance(21)
        taking = asyncio.ensure_future(second.take())
        done, _ = await asyncio.wait({taking}, timeout=0.3)
        assert not done
    assert await taking
    assert await stage.count("orgs") == 1


async def test_renewing_does_not_wait_for_a_transaction(stage: JobStage) -> None:
    """Else a long transaction of a leader would cost it the lease."""
    lead = await stage.leading("a")
    async with lead.fenced() as transaction:
        await transaction.execute(ADD, "slow")
        async with asyncio.timeout(20):
            await lead.renew()
    assert await stage.count("orgs") == 1


async def test_hanging_leader_is_cut_off(stage: JobStage) -> None:
    """A leader that hangs inside a transaction does not keep its successor waiting for ever."""
    first, second = stage.lead("a", lease_seconds=1.0), stage.lead("b")
    assert await first.take()

    async def hang() -> None:
        async with first.fenced() as transaction:
            await transaction.execute(ADD, "never")
            stage.clock.advance(2)
            async with asyncio.timeout(20):
                assert await second.take()

    with pytest.raises(ApplianceError):
        await hang()
    assert second.leads
    assert await stage.count("orgs") == 0


async def test_lease_of_a_wrong_clock(stage: JobStage) -> None:
    """A lease until 2099 is one that nobody gave."""
    await stage.leading("a")
    await stage.database.execute(
        "UPDATE job_leases SET expire_time = $1", datetime(2099, 1, 1, tzinfo=UTC)
    )
    assert await stage.lead("b").take()
