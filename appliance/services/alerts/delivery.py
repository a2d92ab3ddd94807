"""Sends the messages that firings left: mails to members, posts to webhooks.

Invariant: a message is taken, with its attempt counted, before it is sent, and settled after; who
is killed in between leaves it to be sent again under the same id, which a mail has as its
Message-ID and a webhook as its delivery. Attempts are bounded; what is given up says why.
"""

import asyncio
from datetime import timedelta
from typing import Final, Protocol

import structlog

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, TimedOutError, UnmetError
from appliance.domain.alerts.condition import Act
from appliance.domain.alerts.letter import write_letter
from appliance.domain.alerts.messages import ATTEMPTS_MAX, Told, back_off_seconds, webhook_body
from appliance.domain.mail.letters import Letter, Letterhead
from appliance.services.alerts.sealing import SecretSealer
from appliance.services.alerts.webhooks import Post, WebhookSender
from appliance.storage.postgres.alert_firings import (
    DeliveryState,
    Due,
    rest_delivery,
    settle_delivery,
    take_due_deliveries,
)
from appliance.storage.postgres.pool import Postgres

PARALLEL: Final = 4
SEND_SECONDS_MAX: Final = 30.0
HOLD: Final = timedelta(seconds=60)
"""How long a message that was taken is left alone: longer than any attempt."""

_LOG: Final = structlog.stdlib.get_logger()


class Mail(Protocol):
    """Who sends mails."""

    @property
    def head(self) -> Letterhead:
        """What all letters share."""
        ...

    async def send_of_org(self, org_id: str, recipient: str, letter: Letter, key: str, /) -> object:
        """Send a letter by the provider of an organisation; the same key is the same mail."""
        ...


class AlertCourier:
    """Brings messages about firings to their recipients."""

    def __init__(
        self,
        database: Postgres,
        mail: Mail,
        webhooks: WebhookSender,
        sealer: SecretSealer,
        *,
        link: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._mail = mail
        self._webhooks = webhooks
        self._sealer = sealer
        self._link = link
        self._clock = clock

    async def deliver_due(self) -> int:
        """Send a handful of what is due; how many messages that were."""
        now = self._clock.now()
        taken = await take_due_deliveries(self._database, now=now, until=now + HOLD, limit=PARALLEL)
        answers = await asyncio.gather(*map(self._deliver, taken), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return len(taken)

    async def _deliver(self, due: Due) -> None:
        delivery = due.delivery
        failure = await self._attempt(due)
        now = self._clock.now()
        if failure is None:
            _LOG.info("alert_told", delivery_id=delivery.id, act=delivery.act)
            await settle_delivery(self._database, delivery.id, DeliveryState.SENT, at=now)
            return
        final = not failure.transient or delivery.attempts >= ATTEMPTS_MAX
        _LOG.warning(
            "alert_not_told",
            delivery_id=delivery.id,
            reason=failure.reason,
            attempts=delivery.attempts,
            final=final,
        )
        if final:
            await settle_delivery(
                self._database,
                delivery.id,
                DeliveryState.GIVEN_UP,
                problem=failure.message,
                at=now,
            )
            return
        until = now + timedelta(seconds=back_off_seconds(delivery.attempts))
        await rest_delivery(self._database, delivery.id, until=until, problem=failure.message)

    async def _attempt(self, due: Due) -> ApplianceError | None:
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._send(due)
        except ApplianceError as error:
            return error
        except TimeoutError:
            return TimedOutError("DEADLINE_EXCEEDED", "no answer in time")
        except Exception as error:  # noqa: BLE001 a bug in one message must not keep the others from being sent
            _LOG.exception("alert_message_broken", delivery_id=due.delivery.id)
            return UnmetError("INTERNAL", f"bug: {type(error).__name__}")
        return None

    async def _send(self, due: Due) -> None:
        told = tell(due)
        if due.url is not None and due.sealed_secret is not None:
            assert due.delivery.webhook_id is not None, "a URL is a webhook's"
            post = Post(
                url=due.url,
                secret=self._sealer.open(due.delivery.webhook_id, due.sealed_secret),
                delivery_id=due.delivery.id,
                body=webhook_body(told),
            )
            await self._webhooks.send(post)
            return
        if not due.address:
            raise UnmetError("ORG_NOT_A_MEMBER", "not a member of the organisation any more")
        letter = write_letter(told, self._mail.head, link=self._link)
        await self._mail.send_of_org(due.org_id, due.address, letter, due.delivery.id)


def tell(due: Due) -> Told:
    """What a message says, all of it as it was recorded."""
    firing, delivery = due.firing, due.delivery
    is_end = delivery.act is Act.RESOLVED and firing.ended_with is not None
    numbers = firing.ended_with if is_end else firing.started_with
    assert numbers is not None, "an end has numbers"
    return Told(
        delivery_id=delivery.id,
        act=delivery.act,
        firing_id=firing.id,
        alert_id=firing.alert_id,
        alert_name=firing.display_name,
        project_id=due.project_id,
        project_name=due.project_name,
        condition=firing.condition,
        numbers=numbers,
        started_at=firing.started_at,
        at=firing.ended_at or firing.started_at if is_end else firing.started_at,
    )
