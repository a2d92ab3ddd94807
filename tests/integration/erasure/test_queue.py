"""What is on the queue while somebody is erased: nothing of it reappears, nothing else is lost."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
from clickhouse_connect.driver.external import ExternalData

from appliance.base.clock import SystemClock
from appliance.base.errors import UnavailableError
from appliance.base.tasks import poll
from appliance.domain.delivery import Disposition
from appliance.domain.ingest.blocks import Row
from appliance.domain.people.erasure import ErasureStatus, ErasureView, QueueMarks
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileUpsertMessage
from appliance.services.erasing import Eraser
from appliance.services.erasure_cleaning import Cleaned
from appliance.storage.clickhouse import inserts
from appliance.storage.clickhouse.inserts import INSERT_SETTINGS
from appliance.storage.streams.deadletters import Origin
from appliance.storage.streams.erasure import IDENTIFY_DURABLE, IDENTIFY_SUBJECT
from appliance.storage.streams.publish import EVENTS_SUBJECT
from appliance.storage.streams.work import WorkSource
from tests.support.erasure_stage import ErasureStage, session_of
from tests.support.pipeline import Stopped, encode

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
WAIT_SECONDS = 30.0


async def loaded(stage: ErasureStage, request: str) -> ErasureView:
    view = await stage.view(request)
    assert view is not None
    return view


class WithoutSecondSweep(Eraser):
    """A control: deletes what is stored at that moment, as the reference does."""

    async def _clean(self, view: ErasureView) -> Cleaned:
        del view
        return Cleaned()

    async def _until_stored(self, marks: QueueMarks) -> None:
        del marks

    async def _sweep_until_nothing_new(self, view: ErasureView) -> ErasureView:
        return view


@asynccontextmanager
async def erasing(eraser: Eraser, request: str) -> AsyncGenerator[asyncio.Task[None]]:
    async with asyncio.TaskGroup() as group:
        yield group.create_task(eraser.erase(request))


async def is_processing(stage: ErasureStage, request: str) -> None:
    async def answer() -> bool | None:
        return (await loaded(stage, request)).status is ErasureStatus.PROCESSING or None

    assert await poll(answer, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)


async def is_hidden(stage: ErasureStage, profile_id: str) -> None:
    async def answer() -> bool | None:
        living = await stage.database.rows(
            "SELECT 1 FROM profiles WHERE id = $1 AND delete_time IS NULL", profile_id
        )
        return not living or None

    assert await poll(answer, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)


async def test_queued_events_do_not_reappear(stage: ErasureStage) -> None:
    """Events wait on the queue, the erasure begins, then the worker starts."""
    await stage.add_events([("e1", "s1"), ("other", "s2")])
    await stage.pipeline.publish(encode(stage.rows([("e1", "s3"), ("other", "s4")])))
    await stage.pipeline.publish(encode(stage.rows([("e1", "s5")])))
    request = await stage.request(external_id="e1")
    async with erasing(stage.eraser(), request) as task:
        await is_processing(stage, request)
        assert not task.done()
        async with stage.pipeline.working():
            await task
    assert await stage.distinct_ids() == ["other"]
    assert await stage.distinct_ids("distinct_id_activity_states") == ["other"]
    assert await stage.sessions() == {session_of("s2"), session_of("s4")}
    view = await loaded(stage, request)
    assert view.status is ErasureStatus.COMPLETED
    assert view.receipt is not None
    assert view.receipt.remaining.total == 0
    assert (view.receipt.found.queued, view.receipt.mixed_messages) == (1, 1)
    (kept,) = await stage.messages("events")
    assert b"other" in kept


async def test_queued_events_reappear_without_a_second_sweep(stage: ErasureStage) -> None:
    """Control: one sweep alone lets them come back."""
    await stage.pipeline.publish(encode(stage.rows([("e1", "s3")])))
    request = await stage.request(external_id="e1")
    eraser = WithoutSecondSweep(
        stage.jobs.stores, stage.events, stage.journal, SystemClock(), wait_seconds_max=1
    )
    await eraser.erase(request)
    assert (await loaded(stage, request)).status is ErasureStatus.COMPLETED
    async with stage.pipeline.working():

        async def back() -> bool | None:
            return await stage.distinct_ids() == ["e1"] or None

        assert await poll(back, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)


async def test_a_queue_that_does_not_get_on_is_waited_for_later(stage: ErasureStage) -> None:
    await stage.pipeline.publish(encode(stage.rows([("e1", "s3")])))
    request = await stage.request(external_id="e1")
    with pytest.raises(UnavailableError) as late:
        await stage.eraser(wait_seconds_max=0.5).erase(request)
    assert late.value.reason == "QUEUE_BEHIND"
    view = await loaded(stage, request)
    assert view.status is ErasureStatus.PROCESSING
    marks = view.marks
    await stage.pipeline.publish(encode(stage.rows([("later", "s4")])))
    async with stage.pipeline.working():
        await stage.eraser().erase(request)
    view = await loaded(stage, request)
    assert view.status is ErasureStatus.COMPLETED
    assert view.marks == marks


class Point(Stopped):
    """The events worker stops for ever right after its insert: the block stays open."""

    async def insert_events(self, chunks: Iterable[bytes], *, token: str) -> None:
        await super().insert_events(chunks, token=token)
        await self.stop()


async def counts_of(stage: ErasureStage, who: str) -> tuple[int, int, int]:
    rows = await stage.events.rows(
        "SELECT (SELECT count() FROM events WHERE distinct_id = {who:String}),"
        " (SELECT sum(event_count) FROM distinct_id_activity_states"
        "  WHERE distinct_id = {who:String}),"
        " (SELECT sum(event_count) FROM dashboard_session_rollup WHERE scope = ''"
        "  AND session_id = {session:UUID})",
        {"who": who, "session": session_of(who)},
    )
    return tuple(int(str(one)) for one in rows[0])  # type: ignore[return-value]


@pytest.mark.parametrize("all_rows", [True, False], ids=["ours", "control: one row is asked about"])
async def test_an_open_block_is_settled_once_for_the_others(
    stage: ErasureStage, monkeypatch: pytest.MonkeyPatch, *, all_rows: bool
) -> None:
    """A block whose first rows were erased before it was settled is not counted again."""
    if not all_rows:
        whole = inserts._subjects  # pyright: ignore[reportPrivateUsage]

        def first_only(rows: Sequence[Row]) -> ExternalData:
            return whole(rows[:1])

        monkeypatch.setattr(inserts, "_subjects", first_only)
    people = ["e1", *(f"other-{number}" for number in range(5))]
    await stage.pipeline.publish(encode(stage.rows([(one, one) for one in people])))
    await stage.pipeline.crash(Point(stage.pipeline.store))
    request = await stage.request(external_id="e1")
    async with erasing(stage.eraser(), request) as task:

        async def swept() -> bool | None:
            return await counts_of(stage, "e1") == (0, 0, 0) or None

        assert await poll(swept, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
        assert not task.done()
        async with stage.pipeline.working():
            await task
    assert await counts_of(stage, "e1") == (0, 0, 0)
    for other in people[1:]:
        assert await counts_of(stage, other) == ((1, 1, 1) if all_rows else (1, 2, 2))


async def bury(stage: ErasureStage, subject: str, payload: bytes, sequence: int) -> None:
    stream = subject.partition(".")[0]
    await stage.pipeline.dead_letters.keep(
        payload,
        {},
        origin=Origin(
            subject=subject, stream=stream, consumer="c", sequence=sequence, deliveries=1
        ),
        reason="poison",
        disposition=Disposition.PERMANENT,
        now=SystemClock().now(),
        extra={},
    )


async def test_dead_letters_lose_the_person_and_keep_the_others(stage: ErasureStage) -> None:
    theirs, others = stage.rows([("e1", "s1")]), stage.rows([("other", "s2"), ("third", "s3")])
    torn = f'{{"project_id": "{stage.project}", "distinct_id": "e1", "kind": '.encode()
    await bury(stage, EVENTS_SUBJECT, encode(theirs), 1001)
    await bury(stage, EVENTS_SUBJECT, encode([*others, *theirs]), 1002)
    await bury(stage, EVENTS_SUBJECT, encode(others), 1003)
    await bury(stage, EVENTS_SUBJECT, torn, 1004)
    elsewhere = stage.rows([("e1", "s1")], project="another")
    await bury(stage, EVENTS_SUBJECT, encode(elsewhere), 1005)
    for number, name in ((1006, "e1"), (1007, "e2")):
        message = ProfileIdentifyMessage(project_id=stage.project, external_id=name)
        await bury(stage, IDENTIFY_SUBJECT, message.to_binary(), number)
    request = await stage.request(external_id="e1")
    await stage.eraser().erase(request)
    letters = await stage.messages("dlq-events")
    assert sorted(letters) == sorted([encode(others), encode(others), encode(elsewhere)])
    (kept,) = await stage.messages("dlq-profiles")
    assert ProfileIdentifyMessage.from_binary(kept).external_id == "e2"
    summaries = [one async for one in stage.pipeline.dead_letters.summaries("events")]
    assert {one.reason for one in summaries} == {"poison"}
    assert {one.original_subject for one in summaries} == {EVENTS_SUBJECT}
    view = await loaded(stage, request)
    assert view.receipt is not None
    assert view.receipt.found.dead_letters == 4


async def test_a_profile_that_waited_on_the_queue_goes_too(stage: ErasureStage) -> None:
    """An identify of before the request makes a new profile and an alias; both go, with events."""
    await stage.add_profile("P1", "e1")
    jetstream = await stage.jobs.streams.jetstream()
    identify = ProfileIdentifyMessage(
        project_id=stage.project, external_id="e1", anonymous_id="anon-b"
    )
    await jetstream.publish(IDENTIFY_SUBJECT, identify.to_binary())
    await stage.add_events([("anon-b", "s7"), ("other", "s8")])
    request = await stage.request(profile_id="P1", external_id="e1")
    source = WorkSource(
        stage.jobs.streams,
        SystemClock(),
        stream="profiles",
        durable=IDENTIFY_DURABLE,
        subject=IDENTIFY_SUBJECT,
    )
    await source.open()
    async with erasing(stage.eraser(), request) as task:
        await is_processing(stage, request)
        item = None
        while item is None:
            item = await source.next(free=1, wait_seconds=1)
        await is_hidden(stage, "P1")
        await stage.add_profile("P2", "e1")
        await stage.add_alias("anon-b", "P2", "e1")
        await source.done(item)
        await task
    await source.close()
    assert await stage.distinct_ids() == ["other"]
    assert await stage.distinct_ids("profiles") == []
    assert await stage.distinct_ids("profile_aliases") == []
    left = await stage.database.rows("SELECT id FROM profiles WHERE project_id = $1", stage.project)
    assert left == []
    view = await loaded(stage, request)
    assert view.distinct_ids == ("e1", "P1", "P2", "anon-b")
    assert await stage.messages("profiles") == []


async def test_messages_of_others_stay_on_the_stream_of_profiles(stage: ErasureStage) -> None:
    jetstream = await stage.jobs.streams.jetstream()
    for name in ("P1", "P2"):
        upsert = ProfileUpsertMessage(project_id=stage.project, profile_id=name, external_id="")
        await jetstream.publish("profiles.upsert", upsert.to_binary())
    source = WorkSource(
        stage.jobs.streams,
        SystemClock(),
        stream="profiles",
        durable="profile-upsert-processor-durable",
        subject="profiles.upsert",
    )
    await source.open()
    settled = 0
    while settled < 2:
        item = await source.next(free=2, wait_seconds=1)
        if item is not None:
            await source.done(item)
            settled += 1
    await source.close()
    await stage.eraser().erase(await stage.request(profile_id="P1"))
    (kept,) = await stage.messages("profiles")
    assert ProfileUpsertMessage.from_binary(kept).profile_id == "P2"


async def test_many_ids_go_in_several_statements(stage: ErasureStage) -> None:
    """More aliases than one statement names, and long ones."""
    await stage.add_profile("P1", "e1")
    aliases = [f"anon-{number:04d}-{'x' * 40}" for number in range(1200)]
    rows = [
        {
            "project_id": stage.project,
            "alias_id": alias,
            "profile_id": "P1",
            "external_id": "e1",
            "version": number,
        }
        for number, alias in enumerate(aliases)
    ]
    body = b"\n".join(map(msgspec.json.encode, rows))
    await stage.events.insert_ndjson("profile_aliases", [body], {"async_insert": 0})
    events = stage.rows([(alias, alias) for alias in aliases] + [("other", "s")])
    await stage.events.insert_ndjson("events", [encode(events)], INSERT_SETTINGS)
    request = await stage.request(profile_id="P1", external_id="e1")
    await stage.eraser().erase(request)
    view = await loaded(stage, request)
    assert view.events_affected == 1200
    assert view.distinct_ids is not None
    assert len(view.distinct_ids) == 1202
    assert await stage.distinct_ids() == ["other"]
    assert await stage.sessions() == {session_of("s")}
    assert await stage.distinct_ids("profile_aliases") == []
