"""Whether events move, and what was acknowledged is on disk."""

from collections.abc import Iterator
from typing import Final

from appliance.config.secrets import Secret
from appliance.lifecycle.doctor.check import Check, Verdict, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import LOOPBACK_NAMES, Facts, Subject
from appliance.lifecycle.doctor.subjects.disk import show

LAG_WARNING_SECONDS: Final = 60.0
LAG_FAILED_SECONDS: Final = 900.0
FULL_WARNING: Final = 0.80
FULL_FAILED: Final = 0.95
DEAD_LETTERS: Final = "dlq-"


def judge_answer(facts: Facts) -> Iterator[Verdict]:
    if facts.queue is None or facts.queue.external or not facts.running:
        return
    if facts.queue.error:
        yield failed(
            f"the queue does not answer: {facts.queue.error}", "see `pug-appliance logs nats`"
        )
    else:
        yield ok(f"the queue answers and has {len(facts.queue.streams)} streams")


def judge_lag(facts: Facts) -> Iterator[Verdict]:
    queue = facts.queue
    if queue is None or queue.waiting is None:
        return
    age = queue.oldest_seconds or 0.0
    cause = f"{queue.waiting + queue.in_work} batches wait to be stored, the oldest for {age:.0f} s"
    see = "see `pug-appliance logs events` and `pug-appliance status`"
    if age > LAG_FAILED_SECONDS:
        yield failed(cause, see)
    elif age > LAG_WARNING_SECONDS:
        yield warning(cause, see)
    else:
        yield ok(cause)


def judge_worker(facts: Facts) -> Iterator[Verdict]:
    queue = facts.queue
    if queue is None or queue.worker_connected is None or not facts.running:
        return
    if queue.worker_connected:
        yield ok("the events worker fetches from the queue")
    else:
        yield warning(
            "no worker fetches from the queue at this moment",
            "ask again in a moment; if it stays, see `pug-appliance logs events`",
        )


def judge_dead_letters(facts: Facts) -> Iterator[Verdict]:
    if facts.queue is None or facts.queue.error or facts.queue.external:
        return
    streams = [one for one in facts.queue.streams if one.name.startswith(DEAD_LETTERS)]
    filled = [one for one in streams if one.messages]
    for one in filled:
        name = one.name.removeprefix(DEAD_LETTERS)
        look = f"look at them: `pug-appliance dlq list --stream {name}`, then `dlq replay`"
        cause = f"{one.messages} dead letters of {name}: batches that could not be stored"
        if one.bytes_max and one.bytes > FULL_WARNING * one.bytes_max:
            yield failed(f"{cause}; their place is nearly full", look)
        else:
            yield warning(cause, look)
    if streams and not filled:
        yield ok("there are no dead letters")


def judge_room(facts: Facts) -> Iterator[Verdict]:
    queue = facts.queue
    if queue is None or not queue.store_bytes_max:
        return
    share = queue.store_bytes / queue.store_bytes_max
    cause = f"the queue takes {show(queue.store_bytes)} of {show(queue.store_bytes_max)}"
    remedy = "shorten nats.retention or raise nats.store_bytes_max, and free disk for it"
    if share > FULL_FAILED:
        yield failed(f"{cause}: soon nothing is taken any more", remedy)
    elif share > FULL_WARNING:
        yield warning(cause, remedy)
    else:
        yield ok(cause)


def judge_durable(facts: Facts) -> Iterator[Verdict]:
    """Without it a power cut loses acknowledged events."""
    queue = facts.queue
    if queue is None or queue.external:
        return
    if queue.synced_always is None:
        if facts.running:
            yield note(
                "whether the queue flushes each message could not be seen", "run it with sudo"
            )
    elif queue.synced_always:
        yield ok("the queue flushes each message before it is acknowledged")
    else:
        yield failed(
            "the queue acknowledges before it flushes (sync_interval is not always): a power cut "
            "loses acknowledged events",
            "restart it (`pug-appliance restart nats`): its configuration is written at each start",
        )


def judge_external(facts: Facts) -> Iterator[Verdict]:
    url = facts.settings.nats.url
    if url is None:
        return
    if _is_open(url):
        yield warning("the way to the external queue is not encrypted", "use tls:// in nats.url")
    else:
        yield ok("the way to the external queue is encrypted or local")
    if facts.settings.nats.replicas == 1:
        yield note(
            "streams of the external queue have one copy", "set nats.replicas = 3 for a cluster"
        )


def _is_open(url: Secret) -> bool:
    for one in url.reveal().split(","):
        scheme, _, rest = one.strip().partition("://")
        host = rest.rpartition("@")[2].rpartition(":")[0].strip("[]")
        if scheme not in {"tls", "wss"} and host not in LOOPBACK_NAMES:
            return True
    return False


CHECKS: Final = (
    Check(
        name="queue",
        subject=Subject.QUEUE,
        question="Does the queue answer?",
        judge=judge_answer,
    ),
    Check(
        name="queue-lag",
        subject=Subject.QUEUE,
        question="How long do events wait to be stored?",
        judge=judge_lag,
    ),
    Check(
        name="queue-worker",
        subject=Subject.QUEUE,
        question="Does a worker fetch from the queue?",
        judge=judge_worker,
    ),
    Check(
        name="dead-letters",
        subject=Subject.QUEUE,
        question="Are there batches that could not be stored?",
        judge=judge_dead_letters,
    ),
    Check(
        name="queue-room",
        subject=Subject.QUEUE,
        question="Is there room in the queue?",
        judge=judge_room,
    ),
    Check(
        name="queue-durable",
        subject=Subject.QUEUE,
        question="Is an acknowledged event on disk?",
        judge=judge_durable,
    ),
    Check(
        name="queue-external",
        subject=Subject.QUEUE,
        question="Is the way to an external queue encrypted?",
        judge=judge_external,
    ),
)
