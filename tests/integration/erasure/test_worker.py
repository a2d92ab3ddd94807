"""The compliance worker on a real queue: settled messages, failures, what a journal brings back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import UnavailableError
from appliance.base.tasks import poll
from appliance.domain.people.erasure import ErasureStatus
from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.services.erasing import Eraser
from appliance.services.erasure_receipts import make_receipt
from appliance.storage.streams.erasure import COMPLIANCE_STREAM, ERASE_DURABLE, ERASE_SUBJECT
from appliance.storage.streams.work import WorkSource
from appliance.workers.compliance import serve_compliance
from appliance.workers.state import WorkerState
from tests.support.erasure_stage import OPERATOR, ErasureStage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
WAIT_SECONDS = 30.0


@asynccontextmanager
async def working(stage: ErasureStage, eraser: Eraser) -> AsyncGenerator[WorkerState]:
    stop = asyncio.Event()
    state = WorkerState(name="compliance", stream=COMPLIANCE_STREAM, consumer=ERASE_DURABLE)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_compliance(stage.jobs.stores, eraser, state, stop, SystemClock()))
        try:
            yield state
        finally:
            stop.set()


async def until_status(stage: ErasureStage, request: str, wanted: ErasureStatus) -> None:
    async def reached() -> bool | None:
        view = await stage.view(request)
        return (view is not None and view.status is wanted) or None

    assert await poll(reached, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)


async def until_empty(stage: ErasureStage, stream: str) -> None:
    async def empty() -> bool | None:
        return await stage.messages(stream) == [] or None

    assert await poll(empty, every_seconds=0.1, timeout_seconds=WAIT_SECONDS)


async def test_asked_for_and_done(stage: ErasureStage) -> None:
    """From the request to the receipt; the message that names the person leaves the stream."""
    await stage.add_profile("P1", "e1")
    await stage.add_alias("anon-a", "P1", "e1")
    await stage.add_events([("anon-a", "s1"), ("other", "s2")])
    accepted = await stage.service.delete_person(stage.project, "anon-a", actor=OPERATOR)
    async with working(stage, stage.eraser()):
        await until_status(stage, accepted.request_id, ErasureStatus.COMPLETED)
        await until_empty(stage, COMPLIANCE_STREAM)
    assert await stage.distinct_ids() == ["other"]
    receipt = make_receipt(await stage.service.find(accepted.request_id))
    assert receipt.distinct_ids == ("e1", "P1", "anon-a")
    assert (receipt.found.events, receipt.found.profiles, receipt.found.devices) == (1, 1, 1)
    assert receipt.remaining.total == 0
    assert receipt.events_identified == 1
    actions = await stage.database.rows("SELECT action, subject_id FROM audit_entries")
    assert [(row["action"], row["subject_id"]) for row in actions] == [
        ("person.erase", accepted.request_id)
    ]


async def publish(stage: ErasureStage, request: str) -> None:
    message = EraseMessage(project_id=stage.project, request_id=request, external_id="e1")
    payload = message.to_binary()
    jetstream = await stage.jobs.streams.jetstream()
    await jetstream.publish(ERASE_SUBJECT, payload)


async def wear_out(stage: ErasureStage, deliveries: int) -> None:
    """Use up deliveries of the one message on the queue."""
    source = WorkSource(
        stage.jobs.streams,
        SystemClock(),
        stream=COMPLIANCE_STREAM,
        durable=ERASE_DURABLE,
        subject=ERASE_SUBJECT,
    )
    await source.open()
    for _ in range(deliveries):
        item = None
        while item is None:
            item = await source.next(free=1, wait_seconds=1)
        await source.later(item, seconds=0)
    await source.close()


async def test_the_last_delivery_ends_as_failed(
    stage: ErasureStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger says so before the dead letter is kept; asking again succeeds."""
    await stage.add_events([("e1", "s1")])
    request = await stage.request(external_id="e1")
    await publish(stage, request)
    await wear_out(stage, 4)
    eraser = stage.eraser()

    async def away(*_: object) -> None:
        raise UnavailableError("UNAVAILABLE", "the event store does not answer")

    monkeypatch.setattr(eraser, "_sweep", away)
    async with working(stage, eraser):
        await until_status(stage, request, ErasureStatus.FAILED)

        async def dead() -> bool | None:
            return len(await stage.messages("dlq-compliance")) == 1 or None

        assert await poll(dead, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
        monkeypatch.undo()
        again = await stage.service.delete_data_subject(stage.project, "e1", actor=OPERATOR)
        assert again.request_id == request
        await until_status(stage, request, ErasureStatus.COMPLETED)
    assert await stage.distinct_ids() == []
    assert await stage.messages("dlq-compliance") == []


async def test_a_message_without_a_row_is_a_dead_letter_at_once(stage: ErasureStage) -> None:
    await publish(stage, "no-such-request")
    async with working(stage, stage.eraser()) as state:

        async def dead() -> bool | None:
            return bool(state.dead_letters) or None

        assert await poll(dead, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)
    summaries = [one async for one in stage.pipeline.dead_letters.summaries("compliance")]
    assert [one.headers["request_id"] for one in summaries] == ["no-such-request"]


@pytest.mark.parametrize("ledger", ["lost", "older", "known"])
async def test_stores_that_came_back_older_are_cleaned_again(
    stage: ErasureStage, ledger: str
) -> None:
    """After going back, events and ledger are those of before the erasure; the journal is not."""
    await stage.add_events([("e1", "s1")])
    request = await stage.request(external_id="e1")
    await stage.eraser().erase(request)
    assert await stage.distinct_ids() == []
    await stage.add_events([("e1", "s1"), ("other", "s2")])
    match ledger:
        case "lost":
            await stage.database.execute("DELETE FROM compliance_requests")
        case "older":
            await stage.database.execute(
                "UPDATE compliance_requests SET status = 'pending', complete_time = NULL,"
                " distinct_ids = NULL, session_ids = NULL, queue_marks = NULL, receipt = NULL"
            )
        case _:
            pass
    async with working(stage, stage.eraser()):
        if ledger == "known":  # what came after the completion is somebody new [profiles 9]
            assert await stage.eraser().resume_from_journal() == 0
            assert await stage.distinct_ids() == ["e1", "other"]
            return
        await until_status(stage, request, ErasureStatus.COMPLETED)
    assert await stage.distinct_ids() == ["other"]
    view = await stage.view(request)
    assert view is not None
    assert view.receipt is not None
    assert view.receipt.remaining.total == 0


async def test_control_without_a_journal_they_stay(stage: ErasureStage, tmp_path: Path) -> None:
    """Control: the same without the folder of the journal."""
    await stage.add_events([("e1", "s1")])
    request = await stage.request(external_id="e1")
    await stage.eraser().erase(request)
    await stage.add_events([("e1", "s1")])
    await stage.database.execute("DELETE FROM compliance_requests")
    for path in stage.journal_folder.iterdir():
        path.rename(tmp_path / path.name)
    assert await stage.eraser().resume_from_journal() == 0
    assert await stage.distinct_ids() == ["e1"]


async def test_a_failed_request_waits_for_somebody_to_ask(stage: ErasureStage) -> None:
    """The journal has its ids, but it was never completed: the worker does not begin by itself."""
    await stage.add_events([("e1", "s1")])
    await stage.pipeline.publish(b"{}\n")
    request = await stage.request(external_id="e1")
    with pytest.raises(UnavailableError):
        await stage.eraser(wait_seconds_max=0.3).erase(request)
    await stage.eraser().give_up(request, "the queue still holds what was sent before" * 100)
    assert await stage.eraser().resume_from_journal() == 0
    view = await stage.view(request)
    assert view is not None
    assert view.status is ErasureStatus.FAILED
    assert view.error is not None
    assert len(view.error.encode()) == 1024
