"""The frame of workers that take messages one by one, against a real queue [workers 1]."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import ConflictError, InvalidInputError, UnavailableError
from appliance.base.tasks import poll
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.domain.delivery import Disposition
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.mail import EMAIL_DURABLE, EMAIL_STREAM, EMAIL_SUBJECT
from appliance.storage.streams.publish import Publisher
from appliance.storage.streams.work import WorkItem, WorkSource
from appliance.workers.queue import Limits, QueueWorker
from tests.support.mail_stage import MailStage, open_mail_stage
from tests.support.queues import is_worked_off

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

WAIT_SECONDS = 60.0


class ScriptedWork:
    """Does what each payload says; remembers who was here, and how many at once."""

    name = "scripted"

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.seen_at: list[float] = []
        self.finished: list[bytes] = []
        self.at_once = 0
        self.most_at_once = 0
        self.open = asyncio.Event()
        self.open.set()

    async def handle(self, payload: bytes, /) -> None:
        self.seen.append(payload)
        self.seen_at.append(asyncio.get_running_loop().time())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.open.wait()
            match payload:
                case b"never":
                    raise InvalidInputError("INVALID_ARGUMENT", "cannot be done")
                case b"later" if self.seen.count(payload) == 1:
                    raise UnavailableError("UNAVAILABLE", "not now")
                case b"away":
                    raise UnavailableError("UNAVAILABLE", "away")
                case b"bug" if self.seen.count(payload) == 1:
                    raise RuntimeError("a text that is told to nobody")
                case b"slow":
                    await asyncio.Event().wait()
                case _:
                    self.finished.append(payload)
        finally:
            self.at_once -= 1

    def labels(self, payload: bytes, /) -> Mapping[str, str]:
        return {"event_id": payload.decode()}

    def kept(self, payload: bytes, /) -> bytes:
        return payload + b", cleaned"


@pytest.fixture
async def stage(engines: Settings) -> AsyncGenerator[MailStage]:
    async with open_mail_stage(resolve_endpoints(engines)) as opened:
        yield opened


def source_of(stage: MailStage) -> WorkSource:
    return WorkSource(
        stage.streams,
        SystemClock(),
        stream=EMAIL_STREAM,
        durable=EMAIL_DURABLE,
        subject=EMAIL_SUBJECT,
    )


def worker_of(
    stage: MailStage,
    work: ScriptedWork,
    *,
    dead_letters: DeadLetters | None = None,
    seconds_max: float = 10.0,
    forget: bool = False,
) -> QueueWorker:
    return QueueWorker(
        source_of(stage),
        work,
        dead_letters or stage.dead_letters,
        limits=Limits(parallel=4, seconds_max=seconds_max, forget=forget),
        state=stage.state,
        clock=SystemClock(),
    )


@asynccontextmanager
async def running(worker: QueueWorker) -> AsyncGenerator[asyncio.Event]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()


@asynccontextmanager
async def open_streams(stage: MailStage) -> AsyncGenerator[Streams]:
    streams = Streams(stage.endpoints.nats, name="pug-test-other")
    try:
        yield streams
    finally:
        await streams.close()


async def reached(question: Callable[[], bool]) -> None:
    async def answer() -> bool | None:
        return question() or None

    assert await poll(answer, every_seconds=0.02, timeout_seconds=WAIT_SECONDS)


async def settled(stage: MailStage) -> None:
    """Wait until the queue waits for nothing."""

    async def answer() -> bool | None:
        jetstream = await stage.streams.jetstream()
        return await is_worked_off(jetstream, EMAIL_STREAM, EMAIL_DURABLE) or None

    assert await poll(answer, every_seconds=0.05, timeout_seconds=WAIT_SECONDS)


async def wear_out(stage: MailStage, deliveries: int) -> None:
    """Use up deliveries of the one message on the queue."""
    source = source_of(stage)
    await source.open()
    for number in range(1, deliveries + 1):
        item: WorkItem | None = None
        while item is None:
            item = await source.next(free=1, wait_seconds=1)
        assert item.delivery == number
        await source.later(item, seconds=0)
    await source.close()


async def test_many_messages_a_few_at_once(stage: MailStage):
    work = ScriptedWork()
    for number in range(200):
        await stage.publish(b"%d" % number)
    work.open.clear()
    async with running(worker_of(stage, work)):
        await reached(lambda: work.at_once == 4)
        work.open.set()
        await reached(lambda: len(work.finished) == 200)
        await settled(stage)
    assert sorted(map(int, work.finished)) == list(range(200))
    assert work.most_at_once == 4
    assert stage.state.rows == 200
    assert await stage.waiting() == 200


async def test_a_final_failure_is_a_dead_letter_at_once(stage: MailStage):
    work = ScriptedWork()
    await stage.publish(b"never")
    async with running(worker_of(stage, work)):
        await reached(lambda: bool(stage.state.dead_letters))
        await settled(stage)
    (letter,) = await stage.letters()
    _, payload = await stage.dead_letters.load(EMAIL_STREAM, letter.sequence)
    assert payload == b"never, cleaned"
    headers = letter.headers
    assert headers["original_subject"] == EMAIL_SUBJECT
    assert headers["original_stream"] == EMAIL_STREAM
    assert headers["original_consumer"] == EMAIL_DURABLE
    assert headers["error_reason"] == "cannot be done"
    assert headers["delivery_count"] == "1"
    assert headers["worker"] == "scripted"
    assert headers["event_id"] == "never"
    assert headers["dlq_timestamp"].endswith("Z")
    assert int(headers["stream_sequence"]) > 0
    assert stage.state.dead_letters == {(Disposition.PERMANENT, "published"): 1}
    assert work.seen == [b"never"]


@pytest.mark.parametrize("payload", [b"later", b"bug"])
async def test_what_may_pass_comes_again_after_its_delay(stage: MailStage, payload: bytes):
    work = ScriptedWork()
    await stage.publish(payload)
    async with running(worker_of(stage, work)):
        await reached(lambda: work.finished == [payload])
    first, second = work.seen_at
    assert second - first >= 0.9
    assert await stage.letters() == []


async def test_the_last_delivery_ends_as_a_dead_letter(stage: MailStage):
    work = ScriptedWork()
    await stage.publish(b"away")
    await wear_out(stage, 4)
    async with running(worker_of(stage, work)):
        await reached(lambda: bool(stage.state.dead_letters))
        await settled(stage)
    (letter,) = await stage.letters()
    assert letter.headers["delivery_count"] == "5"
    assert letter.headers["disposition"] == "max_deliver"
    assert "event_id" not in letter.headers
    assert work.seen == [b"away"]


async def test_a_handler_that_takes_too_long_is_tried_again(stage: MailStage):
    work = ScriptedWork()
    await stage.publish(b"slow")
    async with running(worker_of(stage, work, seconds_max=0.2)):
        await reached(lambda: len(work.seen) == 2)
    assert await stage.letters() == []


async def test_a_dead_letter_that_cannot_be_kept_is_counted(stage: MailStage):
    """The message is ended all the same [workers 1]."""

    class Refusing(DeadLetters):
        async def keep(self, *_: object, **__: object) -> None:
            raise UnavailableError("UNAVAILABLE", "no room")

    await stage.publish(b"never")
    worker = worker_of(stage, ScriptedWork(), dead_letters=Refusing(stage.streams))
    async with running(worker):
        await reached(lambda: bool(stage.state.dead_letters))
        await settled(stage)
    assert stage.state.dead_letters == {(Disposition.PERMANENT, "dropped"): 1}
    assert await stage.letters() == []


async def test_stopping_lets_what_runs_end(stage: MailStage):
    work = ScriptedWork()
    work.open.clear()
    await stage.publish(b"one")
    async with running(worker_of(stage, work)) as stop:
        await reached(lambda: work.seen == [b"one"])
        stop.set()
        work.open.set()
    assert work.finished == [b"one"]
    await settled(stage)


async def test_starting_twice_is_an_error(stage: MailStage):
    worker = worker_of(stage, ScriptedWork())
    async with running(worker):
        await reached(lambda: stage.state.started)
        with pytest.raises(ConflictError):
            await worker.run(asyncio.Event())


async def test_two_workers_share_one_queue(stage: MailStage):
    works = (ScriptedWork(), ScriptedWork())
    for number in range(60):
        await stage.publish(b"%d" % number)
    async with running(worker_of(stage, works[0])), running(worker_of(stage, works[1])):
        await reached(lambda: sum(len(one.finished) for one in works) == 60)
        await settled(stage)
    assert sorted(int(n) for one in works for n in one.finished) == list(range(60))


async def test_settled_messages_are_removed(stage: MailStage):
    """Also those that were settled before a crash could remove them."""
    left = ScriptedWork()
    await stage.publish(b"settled, not removed")
    async with running(worker_of(stage, left)):
        await reached(lambda: len(left.finished) == 1)
        await settled(stage)
    assert await stage.waiting() == 1
    work = ScriptedWork()
    await stage.publish(b"done")
    await stage.publish(b"never")
    async with running(worker_of(stage, work, forget=True)):
        await stage.until_empty()
    assert work.finished == [b"done"]


async def test_a_lost_connection_is_waited_out(stage: MailStage):
    work = ScriptedWork()
    async with running(worker_of(stage, work)):
        await reached(lambda: stage.state.started)
        client = await stage.streams.client()
        # the socket itself, as a killed server would leave it
        client._transport._io_writer.close()
        async with open_streams(stage) as other:
            await Publisher(other).publish(EMAIL_SUBJECT, b"after", message_id=None, headers={})
            await reached(lambda: work.finished == [b"after"])


async def test_a_missing_consumer_makes_the_worker_unwell_until_it_is_back(
    stage: MailStage, monkeypatch: pytest.MonkeyPatch
):
    """Ten errors in a row; then it rests, and is well when it runs [workers 1]."""
    monkeypatch.setattr("appliance.workers.queue.FETCH_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("appliance.workers.queue.RESTART_SECONDS", 0.5)
    jetstream = await stage.streams.jetstream()
    info = await jetstream.consumer_info(EMAIL_STREAM, EMAIL_DURABLE)
    await jetstream.delete_consumer(EMAIL_STREAM, EMAIL_DURABLE)
    work = ScriptedWork()
    async with running(worker_of(stage, work)):
        await reached(lambda: bool(stage.state.broken))
        await jetstream.add_consumer(EMAIL_STREAM, info.config)
        await stage.publish(b"back")
        await reached(lambda: work.finished == [b"back"])
        await reached(lambda: stage.state.broken == "")
