"""Alerts: made, read, changed, tried out, and what came of them (decision 0035).

Invariant: an alert of another project does not exist. What is asked is checked when it is stored:
it has one number, its members belong to the organisation, its webhooks go where the operator
allows. A change of what is asked ends an open firing quietly; secrets are told once.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    ExhaustedError,
    InvalidInputError,
    NotFoundError,
    Resource,
)
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor
from appliance.domain.alerts.condition import Condition, EndCause
from appliance.domain.alerts.destinations import AllowList, parse_destination, require_listed
from appliance.domain.alerts.messages import Numbers
from appliance.domain.alerts.question import check_question
from appliance.domain.alerts.window import (
    PERIODS_MAX,
    Frequency,
    Watched,
    find_spans,
    next_evaluation,
)
from appliance.domain.cursors import Cursor, decode_event_cursor, encode_event_cursor
from appliance.gen.shared.insights.v1.insights_pb import InsightQuerySpec
from appliance.services.alerts.measuring import (
    AskedProject,
    Insights,
    is_held,
    make_request,
    measure,
    write_question,
)
from appliance.services.alerts.sealing import SecretSealer
from appliance.services.alerts.telling import close_quietly, tell_test
from appliance.services.audit import AuditLog
from appliance.services.schema_rules import check_message
from appliance.storage.postgres.alert_firings import (
    DeliveryRow,
    FiringRow,
    find_last_test,
    list_deliveries,
    list_firings,
)
from appliance.storage.postgres.alerts import (
    AlertRow,
    AlertSettings,
    AlertWebhook,
    add_alert,
    add_webhook,
    begin_anew,
    count_alerts,
    delete_alert,
    find_alert,
    keep_webhooks,
    list_alerts,
    list_members,
    list_webhooks,
    lock_alert,
    replace_members,
    save_alert,
)
from appliance.storage.postgres.pool import Postgres, Transaction

PROJECT_ALERTS_MAX: Final = 100
PAGE_ROWS_DEFAULT: Final = 50
PAGE_ROWS_MAX: Final = 200
TRY_SECONDS_MAX: Final = 15.0
TEST_PAUSE: Final = timedelta(seconds=30)
"""Between two tests of one alert that send something."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class WebhookDraft(Struct, frozen=True, kw_only=True):
    """A webhook as it shall be; a new one has no id."""

    id: str
    url: str


class AlertDraft(Struct, frozen=True, kw_only=True):
    """An alert as it shall be."""

    display_name: str
    enabled: bool
    spec: InsightQuerySpec
    watched: Watched
    condition: Condition
    frequency: Frequency
    member_ids: tuple[str, ...]
    webhooks: tuple[WebhookDraft, ...]


class Alert(Struct, frozen=True, kw_only=True):
    """An alert with its recipients."""

    row: AlertRow
    member_ids: tuple[str, ...]
    webhooks: tuple[AlertWebhook, ...]


class MadeSecret(Struct, frozen=True, kw_only=True):
    """The secret of a webhook, told once."""

    webhook_id: str
    secret: str


class SavedAlert(Struct, frozen=True, kw_only=True):
    """An alert as it is now, and the secrets of its new webhooks."""

    alert: Alert
    secrets: tuple[MadeSecret, ...]


class Tried(Struct, frozen=True, kw_only=True):
    """What a test found; `firing_id` is empty when nothing was sent."""

    at: datetime
    numbers: Numbers
    held: bool
    firing_id: str


class Firing(Struct, frozen=True, kw_only=True):
    """A firing with the messages about it."""

    row: FiringRow
    deliveries: tuple[DeliveryRow, ...]


class FiringsPage(Struct, frozen=True, kw_only=True):
    """Some firings; `next_token` is empty on the last page."""

    firings: tuple[Firing, ...]
    next_token: str


class AlertsService:
    """Use-cases about alerts."""

    def __init__(
        self,
        database: Postgres,
        insights: Insights,
        audit: AuditLog,
        *,
        allowed: AllowList,
        sealer: SecretSealer,
        clock: Clock,
        ids: IdMaker,
        alerts_max: int = PROJECT_ALERTS_MAX,
    ) -> None:
        self._database = database
        self._insights = insights
        self._audit = audit.about("alert")
        self._allowed = allowed
        self._sealer = sealer
        self._clock = clock
        self._ids = ids
        self._alerts_max = alerts_max

    async def create(
        self, project: AskedProject, draft: AlertDraft, *, author_id: str | None, actor: Actor
    ) -> SavedAlert:
        """Make an alert; it is evaluated within five minutes.

        Raises InvalidInputError (`INVALID_ALERT_QUESTION`, `INVALID_INSIGHT_QUERY`,
        `INVALID_WEBHOOK_URL`), NotFoundError (`ORG_MEMBER_NOT_FOUND`), UnmetError (`WEBHOOKS_OFF`,
        `WEBHOOK_HOST_NOT_LISTED`, `ALERT_SECRET_KEY_MISSING`) and ExhaustedError
        (`ALERTS_EXHAUSTED`).
        """
        now = self._clock.now()
        settings = await self._settings(project, draft, now)
        alert_id = self._ids.make()
        async with self._database.transaction() as transaction:
            if await count_alerts(transaction, project.project_id) >= self._alerts_max:
                raise ExhaustedError(
                    "ALERTS_EXHAUSTED", f"a project has at most {self._alerts_max} alerts"
                )
            await add_alert(
                transaction,
                alert_id,
                project.project_id,
                settings,
                next_at=now,
                author_id=author_id,
                now=now,
            )
            row = await self._find(transaction, project.project_id, alert_id)
            secrets = await self._set_recipients(transaction, row, draft, now)
            await self._audit.record(transaction, actor, "create", row.project_id, alert_id)
            alert = await self._read(transaction, project.project_id, alert_id)
        return SavedAlert(alert=alert, secrets=secrets)

    async def get(self, project_id: str, alert_id: str) -> Alert:
        """An alert; raises NotFoundError (`ALERT_NOT_FOUND`)."""
        return await self._read(self._database, project_id, alert_id)

    async def list_all(self, project_id: str) -> tuple[Alert, ...]:
        """All alerts of a project, oldest first."""
        rows = await list_alerts(self._database, project_id, limit=self._alerts_max)
        ids = [row.id for row in rows]
        members = await list_members(self._database, ids)
        webhooks = await list_webhooks(self._database, ids)
        return tuple(
            Alert(row=row, member_ids=members[row.id], webhooks=webhooks[row.id]) for row in rows
        )

    async def update(
        self, project: AskedProject, alert_id: str, draft: AlertDraft, *, actor: Actor
    ) -> SavedAlert:
        """Replace everything that is set on an alert; raises as `create` does, and NotFoundError
        (`ALERT_NOT_FOUND`).
        """
        now = self._clock.now()
        settings = await self._settings(project, draft, now)
        async with self._database.transaction() as transaction:
            before = await lock_alert(transaction, project.project_id, alert_id)
            if before is None:
                raise _not_found(alert_id)
            await save_alert(
                transaction, before, settings, next_at=_next_at(before, settings, now), now=now
            )
            cause = _end_cause(before.settings, settings)
            if cause is not None:
                await close_quietly(transaction, alert_id, cause, at=now)
                await begin_anew(transaction, alert_id)
            secrets = await self._set_recipients(transaction, before, draft, now)
            await self._audit.record(transaction, actor, "update", before.project_id, alert_id)
            alert = await self._read(transaction, project.project_id, alert_id)
        return SavedAlert(alert=alert, secrets=secrets)

    async def delete(self, project_id: str, alert_id: str, *, actor: Actor) -> None:
        """Remove an alert with its firings; raises NotFoundError (`ALERT_NOT_FOUND`)."""
        async with self._database.transaction() as transaction:
            if not await delete_alert(transaction, project_id, alert_id):
                raise _not_found(alert_id)
            await self._audit.record(transaction, actor, "delete", project_id, alert_id)

    async def test(self, project_id: str, alert_id: str, *, send: bool) -> Tried:
        """Compute the number now; with `send` tell every recipient, marked as a test.

        Raises NotFoundError (`ALERT_NOT_FOUND`), ExhaustedError (`ALERT_TESTED_JUST_NOW`) and what
        the insight raises.
        """
        alert = await self._find(self._database, project_id, alert_id)
        now = self._clock.now()
        numbers = await measure(self._insights, alert, now)
        firing_id = await self._send_test(alert, numbers) if send else ""
        held = bool(is_held(alert.settings.condition, numbers))
        return Tried(at=now, numbers=numbers, held=held, firing_id=firing_id)

    async def list_firings(
        self, project_id: str, alert_id: str, *, page_size: int, page_token: str
    ) -> FiringsPage:
        """Firings of an alert, or of a project for an empty id, newest first.

        Raises InvalidInputError (`INVALID_PAGE_TOKEN`).
        """
        cursor = decode_event_cursor(page_token)
        limit = min(page_size or PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX)
        found = await list_firings(
            self._database,
            project_id,
            alert_id=alert_id,
            after=None if cursor is None else (_EPOCH + cursor.micros * _MICROSECOND, cursor.id),
            limit=limit + 1,
        )
        page = found[:limit]
        deliveries = await list_deliveries(self._database, [row.id for row in page])
        return FiringsPage(
            firings=tuple(Firing(row=row, deliveries=deliveries[row.id]) for row in page),
            next_token=_token(page[-1]) if len(found) > limit else "",
        )

    async def _send_test(self, alert: AlertRow, numbers: Numbers) -> str:
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            fresh = await lock_alert(transaction, alert.project_id, alert.id)
            if fresh is None:
                raise _not_found(alert.id)
            tested = await find_last_test(transaction, alert.id)
            if tested is not None and timedelta(0) <= now - tested < TEST_PAUSE:
                raise ExhaustedError(
                    "ALERT_TESTED_JUST_NOW",
                    f"a test of this alert was sent less than {TEST_PAUSE.seconds} s ago",
                    retry_seconds=TEST_PAUSE.total_seconds(),
                )
            return await tell_test(transaction, fresh, numbers, ids=self._ids, at=now)

    async def _settings(
        self, project: AskedProject, draft: AlertDraft, now: datetime
    ) -> AlertSettings:
        """A draft, checked as far as that goes without its recipients."""
        name = draft.display_name.strip()
        if not name:
            raise InvalidInputError("INVALID_ARGUMENT", "an alert has a name")
        if not 0 < draft.watched.periods <= PERIODS_MAX[draft.watched.granularity]:
            raise InvalidInputError("INVALID_ARGUMENT", "the window has too many periods")
        check_question(draft.spec)
        await self._try(project, draft, now)
        return AlertSettings(
            display_name=name,
            enabled=draft.enabled,
            question=write_question(draft.spec),
            watched=draft.watched,
            condition=draft.condition,
            frequency=draft.frequency,
        )

    async def _try(self, project: AskedProject, draft: AlertDraft, now: datetime) -> None:
        """Ask once, so that what can never be asked is not kept; a store that is away is no fault
        of the question.
        """
        spans = find_spans(draft.watched, project.timezone, now)
        request = make_request(draft.spec, draft.watched, spans.current)
        check_message(request)
        try:
            async with asyncio.timeout(TRY_SECONDS_MAX):
                await self._insights.query(project, request)
        except (InvalidInputError, NotFoundError):
            raise
        except (ApplianceError, TimeoutError):
            return

    async def _set_recipients(
        self, transaction: Transaction, row: AlertRow, draft: AlertDraft, now: datetime
    ) -> tuple[MadeSecret, ...]:
        wanted = sorted(set(draft.member_ids))
        if await replace_members(transaction, row.id, row.org_id, wanted) < len(wanted):
            raise NotFoundError(
                "ORG_MEMBER_NOT_FOUND", "not everybody to be told is a member of the organisation"
            )
        stored = await list_webhooks(transaction, [row.id])
        kept = _kept_webhooks(stored[row.id], draft.webhooks)
        await keep_webhooks(transaction, row.id, kept)
        fresh = [webhook.url for webhook in draft.webhooks if not webhook.id]
        return tuple([await self._add_webhook(transaction, row.id, url, now) for url in fresh])

    async def _add_webhook(
        self, transaction: Transaction, alert_id: str, url: str, now: datetime
    ) -> MadeSecret:
        require_listed(self._allowed, parse_destination(url))
        self._sealer.require_key()
        made = MadeSecret(webhook_id=self._ids.make(), secret=self._sealer.make_secret())
        webhook = AlertWebhook(
            id=made.webhook_id,
            url=url,
            sealed_secret=self._sealer.seal(made.webhook_id, made.secret),
        )
        await add_webhook(transaction, alert_id, webhook, now=now)
        return made

    async def _find(
        self, store: Postgres | Transaction, project_id: str, alert_id: str
    ) -> AlertRow:
        row = await find_alert(store, project_id, alert_id)
        if row is None:
            raise _not_found(alert_id)
        return row

    async def _read(self, store: Postgres | Transaction, project_id: str, alert_id: str) -> Alert:
        row = await self._find(store, project_id, alert_id)
        members = await list_members(store, [alert_id])
        webhooks = await list_webhooks(store, [alert_id])
        return Alert(row=row, member_ids=members[alert_id], webhooks=webhooks[alert_id])


def _kept_webhooks(stored: Sequence[AlertWebhook], drafts: Sequence[WebhookDraft]) -> list[str]:
    """The ids of the webhooks that stay; raises InvalidInputError for one that is another's."""
    known = {webhook.id: webhook.url for webhook in stored}
    kept = [draft for draft in drafts if draft.id]
    for draft in kept:
        if known.get(draft.id) != draft.url:
            raise InvalidInputError(
                "INVALID_WEBHOOK",
                "an existing webhook keeps its address; send a new one without id",
            )
    return [draft.id for draft in kept]


def _end_cause(before: AlertSettings, after: AlertSettings) -> EndCause | None:
    """Why what was found so far counts no more; None when it still does."""
    if before.enabled and not after.enabled:
        return EndCause.DISABLED
    return None if _asked(before) == _asked(after) else EndCause.CHANGED


def _asked(settings: AlertSettings) -> tuple[object, Watched, Condition]:
    """What an evaluation depends on; the database writes JSON in an order of its own."""
    question: object = msgspec.json.decode(settings.question)
    return question, settings.watched, settings.condition


def _next_at(before: AlertRow, after: AlertSettings, now: datetime) -> datetime:
    """When an alert is due after a change: soon, unless nothing of its evaluation changed."""
    if _end_cause(before.settings, after) is not None or not before.settings.enabled:
        return now
    if before.settings.frequency is not after.frequency:
        return next_evaluation(after.frequency, before.timezone, now)
    return before.next_at


def _token(last: FiringRow) -> str:
    micros = (last.started_at - _EPOCH) // _MICROSECOND
    return encode_event_cursor(Cursor(micros=micros, id=last.id))


def _not_found(alert_id: str) -> NotFoundError:
    return NotFoundError(
        "ALERT_NOT_FOUND",
        "there is no such alert",
        resource=Resource(kind="alert", name=alert_id),
    )
