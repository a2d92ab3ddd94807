"""One evaluation of an alert by the scheduler: ask, decide, record.

Invariant: what is decided is recorded in one fenced transaction that finds the alert as it was when
its question was asked; if it is about something else by then, the evaluation counts for nothing. A
failure is recorded with the alert and changes no state, so nobody is told of it.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, TimedOutError
from appliance.base.ids import IdMaker
from appliance.domain.alerts.condition import Act, judge, state_after
from appliance.domain.alerts.messages import Numbers
from appliance.domain.alerts.window import next_evaluation
from appliance.domain.schedule import retry_seconds
from appliance.services.alerts.measuring import Insights, is_held, measure
from appliance.services.alerts.telling import tell_change
from appliance.storage.postgres.alerts import (
    AlertRow,
    LastFound,
    lock_alert,
    note_failed,
    note_found,
)
from appliance.storage.postgres.pool import Transaction

EVALUATE_SECONDS_MAX: Final = 30.0
"""Of all questions of one alert together."""

_LOG: Final = structlog.stdlib.get_logger()


class Verdict(StrEnum):
    """How an evaluation ended."""

    UNCHANGED = "unchanged"
    FIRED = "fired"
    RESOLVED = "resolved"
    UNDECIDED = "undecided"
    FAILED = "failed"
    OVERTAKEN = "overtaken"


class Evaluated(Struct, frozen=True, kw_only=True):
    """How an evaluation ended; `failure` is what it failed of."""

    verdict: Verdict
    failure: ApplianceError | None = None


Fenced = Callable[[], AbstractAsyncContextManager[Transaction]]
"""A transaction of the leader; raises ConflictError `LEASE_LOST`."""
_TOLD: Final = {Act.FIRED: Verdict.FIRED, Act.RESOLVED: Verdict.RESOLVED}


class Evaluator:
    """Evaluates alerts on behalf of whoever leads."""

    def __init__(self, fenced: Fenced, insights: Insights, *, clock: Clock, ids: IdMaker) -> None:
        self._fenced = fenced
        self._insights = insights
        self._clock = clock
        self._ids = ids

    async def evaluate(self, alert: AlertRow) -> Evaluated:
        """Evaluate one alert; raises ConflictError `LEASE_LOST` and what the database raises."""
        now = self._clock.now()
        try:
            async with asyncio.timeout(EVALUATE_SECONDS_MAX):
                numbers = await measure(self._insights, alert, now)
        except ApplianceError as error:
            return await self._fail(alert, error, now)
        except TimeoutError:
            sentence = f"no answer within {EVALUATE_SECONDS_MAX:.0f} s"
            return await self._fail(alert, TimedOutError("ALERT_TOO_SLOW", sentence), now)
        except Exception as error:  # noqa: BLE001 a bug in one question must not keep the others from being asked
            _LOG.exception("alert_broken", alert_id=alert.id)
            bug = ApplianceError("INTERNAL", f"bug: {type(error).__name__}")
            return await self._fail(alert, bug, now)
        return Evaluated(verdict=await self._record(alert, numbers, now))

    async def _record(self, alert: AlertRow, numbers: Numbers, now: datetime) -> Verdict:
        async with self._fenced() as transaction:
            fresh = await lock_alert(transaction, alert.project_id, alert.id)
            if fresh is None or not fresh.settings.enabled or fresh.revision != alert.revision:
                return Verdict.OVERTAKEN
            held = is_held(fresh.settings.condition, numbers)
            act = judge(fresh.state, held=held)
            await note_found(
                transaction,
                fresh.id,
                state=fresh.state if act is None else state_after(act),
                next_at=next_evaluation(fresh.settings.frequency, fresh.timezone, now),
                found=LastFound(
                    at=now,
                    value=numbers.value,
                    baseline=numbers.baseline,
                    window_start=numbers.window_start,
                    window_end=numbers.window_end,
                ),
            )
            if act is not None:
                await tell_change(transaction, fresh, act, numbers, ids=self._ids, at=now)
        if act is None:
            return Verdict.UNDECIDED if held is None else Verdict.UNCHANGED
        _LOG.info("alert_changed", alert_id=alert.id, project_id=alert.project_id, act=act)
        return _TOLD[act]

    async def _fail(self, alert: AlertRow, error: ApplianceError, now: datetime) -> Evaluated:
        """Record a failure; it is tried again sooner than the alert would be due."""
        regular = next_evaluation(alert.settings.frequency, alert.timezone, now)
        pause = timedelta(seconds=retry_seconds(alert.trouble.failures + 1))
        async with self._fenced() as transaction:
            await note_failed(
                transaction,
                alert,
                next_at=min(regular, now + pause),
                reason=error.reason,
                message=error.message,
            )
        return Evaluated(verdict=Verdict.FAILED, failure=error)
