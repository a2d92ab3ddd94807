"""One subscription for all who watch: opened, closed, bounded, and met again."""

import json
import uuid
from contextlib import AsyncExitStack

import pytest

from appliance.base.errors import ExhaustedError, UnavailableError
from appliance.base.tasks import poll
from appliance.config.model import Settings
from appliance.domain.live import LiveFilter, NoteKind
from appliance.services.live import PROJECT_WATCHERS_MAX
from appliance.services.live_watcher import Watcher
from appliance.services.wiring import Services
from appliance.storage.streams.publish import EVENTS_STREAM, EVENTS_SUBJECT, PROJECT_HEADER
from tests.support.live import WAIT_SECONDS, Watched, prepared

pytestmark = [pytest.mark.anyio, pytest.mark.integration, pytest.mark.timeout(300)]

EVERYTHING = LiveFilter()


async def consumers(services: Services) -> int:
    """How many subscriptions of those who watch the stream of events has."""
    jetstream = await services.stores.streams.jetstream()
    found = await jetstream.consumers_info(EVENTS_STREAM)
    return sum(one.config.durable_name is None for one in found)


async def reaches(services: Services, number: int) -> bool:
    async def reached() -> bool | None:
        return (await consumers(services) == number) or None

    return bool(await poll(reached, every_seconds=0.02, timeout_seconds=WAIT_SECONDS))


async def publish(services: Services, watched: Watched, kind: str) -> None:
    """One row on the queue, as the ingest service puts it there."""
    row = {
        "event_id": str(uuid.uuid4()),
        "project_id": watched.project,
        "distinct_id": "u1",
        "session_id": str(uuid.uuid4()),
        "kind": kind,
        "occur_time": "2026-11-21 10:00:00.000",
    }
    await services.stores.publisher.publish(
        EVENTS_SUBJECT,
        json.dumps(row).encode() + b"\n",
        message_id=None,
        headers={PROJECT_HEADER: watched.project},
    )


async def hears(watcher: Watcher, kind: str) -> list[NoteKind]:
    """The kinds of notes up to an event of this kind."""
    met: list[NoteKind] = []
    for _ in range(200):
        for note in await watcher.take(wait_seconds=WAIT_SECONDS / 200):
            met.append(note.kind)
            if note.kind is NoteKind.EVENT and json.loads(note.body)["kind"] == kind:
                return met
    raise AssertionError(f"no {kind} in time, only {met}")


async def test_the_subscription_lives_as_long_as_somebody_watches(
    services: Services, watched: Watched
) -> None:
    """None before the first, one for many, none after the last."""
    assert await reaches(services, 0)  # a process that was killed leaves its own for a moment
    async with services.live.watch(watched.project, EVERYTHING):
        assert services.live.is_listening
        assert await reaches(services, 1)
        async with services.live.watch("another", EVERYTHING):
            assert await consumers(services) == 1
        assert services.live.is_listening
    assert not services.live.is_listening
    assert await reaches(services, 0)
    async with services.live.watch(watched.project, EVERYTHING) as again:
        await publish(services, watched, "again")
        await hears(again, "again")
    assert await reaches(services, 0)


async def test_a_project_has_room_for_so_many(services: Services, watched: Watched) -> None:
    """One more is refused; when one leaves there is room again."""
    async with AsyncExitStack() as stack:
        for _ in range(PROJECT_WATCHERS_MAX):
            await stack.enter_async_context(services.live.watch(watched.project, EVERYTHING))
        with pytest.raises(ExhaustedError) as refused:
            await stack.enter_async_context(services.live.watch(watched.project, EVERYTHING))
        assert refused.value.reason == "LIVE_WATCHERS_MAX"
        await stack.enter_async_context(services.live.watch("another", EVERYTHING))
    assert services.live.watching == 0


async def test_a_lost_connection_is_told_and_met_again(
    services: Services, watched: Watched
) -> None:
    """Whoever watches is told that events may be missing, and hears what comes then."""
    async with services.live.watch(watched.project, EVERYTHING) as watcher:
        await publish(services, watched, "before")
        await hears(watcher, "before")
        client = await services.stores.streams.client()
        reconnects = client.stats["reconnects"]
        client._transport.close()

        async def gap() -> bool | None:
            notes = await watcher.take(wait_seconds=0.1)
            return any(note.kind is NoteKind.GAP for note in notes) or None

        assert await poll(gap, every_seconds=0.01, timeout_seconds=WAIT_SECONDS)
        assert client.stats["reconnects"] > reconnects
        await publish(services, watched, "after")
        await hears(watcher, "after")


async def test_who_asks_while_the_process_ends_is_refused(engines: Settings) -> None:
    """Streams end with their reason, and no new one begins."""
    async with prepared(engines) as services:
        async with services.live.watch("p", EVERYTHING) as watcher:
            services.live.end()
            notes = await watcher.take(wait_seconds=WAIT_SECONDS)
            assert notes[-1].kind is NoteKind.END
        with pytest.raises(UnavailableError):
            async with services.live.watch("p", EVERYTHING):
                pass
