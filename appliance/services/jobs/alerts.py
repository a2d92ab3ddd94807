"""The job that evaluates alerts (decision 0035).

Invariant: alerts are evaluated only while the queue of events is worked off: events that wait would
make numbers look low. One alert's failure keeps no other from being evaluated, but a store that is
away ends the run. A run is bounded in time; what it leaves is due at the next.
"""

from collections import Counter
from typing import Final

from appliance.base.errors import UnavailableError
from appliance.domain.alerts.window import SETTLE
from appliance.services.alerts.evaluating import Evaluator, Verdict
from appliance.services.jobs.desk import Desk
from appliance.storage.postgres.alerts import AlertRow, count_due_alerts, list_due_alerts
from appliance.storage.streams.publish import EVENTS_STREAM
from appliance.storage.streams.queues import load_waiting

RUN_SECONDS_MAX: Final = 180.0
"""After which no further alert is begun; the next run comes in five minutes."""
_REASONS_MAX: Final = 3
_SHOWN: Final = (Verdict.FIRED, Verdict.RESOLVED, Verdict.FAILED)


async def evaluate_alerts(desk: Desk) -> str:
    """Evaluate every alert that is due.

    Raises UnavailableError when events wait to be stored (`EVENTS_BEHIND`) or a store is away.
    """
    if desk.insights is None or not await count_due_alerts(
        desk.stores.postgres, now=desk.clock.now()
    ):
        return "no alert is due"
    await _require_stored(desk)
    evaluator = Evaluator(desk.lead.fenced, desk.insights, clock=desk.clock, ids=desk.ids)
    counts: Counter[Verdict] = Counter()
    reasons: set[str] = set()
    until = desk.clock.monotonic_seconds() + RUN_SECONDS_MAX
    tried: list[str] = []
    while desk.clock.monotonic_seconds() < until:
        alert = await _next_due(desk, tried)
        if alert is None:
            break
        tried.append(alert.id)
        evaluated = await evaluator.evaluate(alert)
        counts[evaluated.verdict] += 1
        if evaluated.failure is not None:
            reasons.add(evaluated.failure.reason)
            if isinstance(evaluated.failure, UnavailableError):
                raise evaluated.failure
    return await _describe(desk, counts, reasons)


async def _next_due(desk: Desk, tried: list[str]) -> AlertRow | None:
    found = await list_due_alerts(
        desk.stores.postgres, now=desk.clock.now(), without=tried, limit=1
    )
    return found[0] if found else None


async def _require_stored(desk: Desk) -> None:
    """Return when every event that came before the last minutes is stored."""
    now = desk.clock.now()
    for waiting in await load_waiting(desk.stores.streams):
        oldest_at = waiting.oldest_at
        if waiting.stream == EVENTS_STREAM and oldest_at is not None and oldest_at < now - SETTLE:
            raise UnavailableError(
                "EVENTS_BEHIND",
                f"{waiting.messages} batches of events wait since {oldest_at:%H:%M} UTC; "
                "numbers would look low",
                hint="see `pug-appliance status` and the log of the events worker",
            )


async def _describe(desk: Desk, counts: Counter[Verdict], reasons: set[str]) -> str:
    parts = [f"{counts[one]} {one}" for one in _SHOWN if counts[one]]
    text = f"evaluated {counts.total()} alerts" + (f": {', '.join(parts)}" if parts else "")
    if reasons:
        text += f" ({', '.join(sorted(reasons)[:_REASONS_MAX])})"
    left = await count_due_alerts(desk.stores.postgres, now=desk.clock.now())
    return f"{text}; {left} wait for the next run" if left else text
