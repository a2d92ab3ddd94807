"""Mail jobs on the queue: made after a commit by whoever issued a token [workers 4.1].

Invariant: making a job never fails the request it belongs to, and none is made that nobody could
send, so that no token waits on a disk for nothing. The id of a job is that of the token's row, so
it differs for every issuance and stays through redeliveries [workers 4.2].
"""

from collections import Counter
from enum import StrEnum
from typing import Final

import structlog
from protobuf import Oneof

from appliance.base.errors import ApplianceError
from appliance.config.people import EmailSettings
from appliance.gen.workers.email.v1.email_pb import (
    EmailJob,
    MagicLinkPayload,
    OrgMemberInvitePayload,
)
from appliance.services.mail.readiness import has_mail, missing_settings
from appliance.storage.streams.mail import EMAIL_SUBJECT
from appliance.storage.streams.publish import Publisher

FAILURES: Final = "emails.publish_failure_total"

_LOG: Final = structlog.stdlib.get_logger()


class MailKind(StrEnum):
    """The kinds of job, as `emails.publish_failure_total` counts them [workers 7.4]."""

    MAGIC_LINK = "magic_link"
    INVITE = "org_member_invite"


class MailQueue:
    """Hands mails over to the e-mail worker; `counts` is what the metrics show [workers 7.4]."""

    def __init__(self, publisher: Publisher, email: EmailSettings) -> None:
        self._publisher = publisher
        self._operator_sends = not missing_settings(email)
        self._anybody_sends = has_mail(email)
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def sends_magic_links(self) -> bool:
        """Whether a sign-in link would be mailed; otherwise it must be handed out."""
        return self._operator_sends

    async def magic_link(self, email: str, token: str, dispatch_id: str) -> bool:
        """Have a sign-in link mailed; False when it will not be."""
        if not self._operator_sends:
            return _without_mail(MailKind.MAGIC_LINK)
        payload = MagicLinkPayload(email=email, token=token)
        return await self._publish(
            MailKind.MAGIC_LINK,
            EmailJob(payload=Oneof("magic_link", payload), dispatch_id=dispatch_id),
        )

    async def invite(self, email: str, invitation_id: str, token: str, dispatch_id: str) -> bool:
        """Have an invitation mailed; False when it will not be."""
        if not self._anybody_sends:
            return _without_mail(MailKind.INVITE)
        payload = OrgMemberInvitePayload(email=email, invitation_id=invitation_id, token=token)
        return await self._publish(
            MailKind.INVITE,
            EmailJob(payload=Oneof("org_member_invite", payload), dispatch_id=dispatch_id),
        )

    async def _publish(self, kind: MailKind, job: EmailJob) -> bool:
        try:
            await self._publisher.publish(
                EMAIL_SUBJECT, job.to_binary(), message_id=f"mail-{job.dispatch_id}", headers={}
            )
        except ApplianceError as error:
            self.counts[FAILURES, kind.value] += 1
            _LOG.warning(
                "mail_not_queued", kind=kind, dispatch_id=job.dispatch_id, reason=error.reason
            )
            return False
        return True


def _without_mail(kind: MailKind) -> bool:
    _LOG.info("mail_not_configured", kind=kind)
    return False
