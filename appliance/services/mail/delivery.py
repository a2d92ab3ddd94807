"""From a job, or a wish for a test, to a mail in a provider's hands.

Invariant: a job that cannot be read or lacks its id is a final error rather than a mail without a
key; no error of this module holds a token or link [workers 4.1, 4.2].
"""

from msgspec import Struct
from protobuf import Oneof

from appliance.base.errors import ApplianceError, InvalidInputError, UnmetError
from appliance.domain.mail.letters import (
    Letter,
    Letterhead,
    invite_letter,
    magic_link_letter,
    provider_test_letter,
)
from appliance.gen.workers.email.v1.email_pb import (
    EmailJob,
    MagicLinkPayload,
    OrgMemberInvitePayload,
)
from appliance.services.links import DashboardLinks
from appliance.services.mail.carriers import Mail, Receipt, without_secrets
from appliance.services.mail.routes import MailRoutes, Route
from appliance.services.schema_rules import read_message
from appliance.storage.postgres.email_providers import load_invitation, load_org_name
from appliance.storage.postgres.pool import Postgres


class Prepared(Struct, frozen=True, kw_only=True):
    """A mail and who carries it."""

    route: Route
    mail: Mail


class MailDelivery:
    """Writes letters and hands them to the provider in effect."""

    def __init__(
        self, routes: MailRoutes, database: Postgres, links: DashboardLinks, head: Letterhead
    ) -> None:
        self._routes = routes
        self._database = database
        self._links = links
        self._head = head

    @property
    def head(self) -> Letterhead:
        """What all letters of this installation share."""
        return self._head

    async def deliver(self, job: EmailJob) -> Receipt:
        """Send the mail of a job; raises UnmetError or UnavailableError and their like."""
        match job.payload:
            case Oneof(field="magic_link", value=MagicLinkPayload() as payload):
                prepared = self._magic_link(payload, job.dispatch_id)
                token = payload.token
            case Oneof(field="org_member_invite", value=OrgMemberInvitePayload() as invitation):
                prepared = await self._invite(invitation, job.dispatch_id)
                token = invitation.token
            case _:
                raise InvalidInputError("INVALID_ARGUMENT", "the job says nothing to send")
        try:
            return await prepared.route.carrier.send(prepared.mail)
        except ApplianceError as error:
            raise without_secrets(error, {"token": token}) from None

    async def send_test(self, recipient: str, key: str, *, org_id: str) -> Receipt:
        """Send a test mail by the provider in effect for an organisation."""
        route = await self._routes.of_org(org_id)
        org_name = await load_org_name(self._database, org_id) if route.own else ""
        return await send_test(route, self._head, recipient, key, org_name=org_name)

    async def send_letter(self, recipient: str, letter: Letter, key: str) -> Receipt:
        """Send any letter by the operator's provider; `key` is the same for every attempt."""
        route = self._routes.operator()
        return await route.carrier.send(_prepare(route, recipient, letter, key).mail)

    async def send_of_org(self, org_id: str, recipient: str, letter: Letter, key: str) -> Receipt:
        """Send any letter by the provider in effect for an organisation; `key` as above."""
        route = await self._routes.of_org(org_id)
        return await route.carrier.send(_prepare(route, recipient, letter, key).mail)

    def _magic_link(self, payload: MagicLinkPayload, key: str) -> Prepared:
        letter = magic_link_letter(self._head, link=self._links.magic_link(payload.token))
        return _prepare(self._routes.operator(), payload.email, letter, key)

    async def _invite(self, payload: OrgMemberInvitePayload, key: str) -> Prepared:
        facts = await load_invitation(self._database, payload.invitation_id)
        if facts is None:
            raise UnmetError("INVITATION_NOT_FOUND", "the invitation was revoked or accepted")
        letter = invite_letter(
            self._head,
            link=self._links.magic_link(payload.token),
            org_name=facts.org_name,
            inviter_name=facts.inviter_name,
        )
        route = await self._routes.of_org(facts.org_id)
        return _prepare(route, payload.email, letter, key)


async def send_test(
    route: Route, head: Letterhead, recipient: str, key: str, *, org_name: str = ""
) -> Receipt:
    """Send a test mail; `org_name` is empty for the operator's provider."""
    letter = provider_test_letter(head, sender=route.sender, org_name=org_name)
    return await route.carrier.send(_prepare(route, recipient, letter, key).mail)


def _prepare(route: Route, recipient: str, letter: Letter, key: str) -> Prepared:
    mail = Mail(
        sender=route.sender,
        reply_to=route.reply_to,
        recipient=recipient,
        letter=letter,
        key=key.strip(),
    )
    return Prepared(route=route, mail=mail)


def parse_job(payload: bytes) -> EmailJob:
    """A job from the queue; raises InvalidInputError for one that can never be sent."""
    job = read_message(EmailJob, payload)
    if not job.dispatch_id.strip():
        raise InvalidInputError("INVALID_ARGUMENT", "the job has a blank dispatch_id")
    return job


def without_token(payload: bytes) -> bytes:
    """A job as it may be kept: written anew without its token; nothing of what cannot be read.

    It cannot be sent again, which is what its reader must find out at once.
    """
    try:
        job = EmailJob.from_binary(payload)
    except Exception:  # noqa: BLE001 whatever it is, it is not kept
        return b""
    match job.payload:
        case Oneof(field="magic_link", value=MagicLinkPayload() as link):
            kept = MagicLinkPayload(email=link.email)
            made = EmailJob(payload=Oneof("magic_link", kept), dispatch_id=job.dispatch_id)
            return made.to_binary()
        case Oneof(field="org_member_invite", value=OrgMemberInvitePayload() as invitation):
            rest = OrgMemberInvitePayload(
                email=invitation.email, invitation_id=invitation.invitation_id
            )
            made = EmailJob(payload=Oneof("org_member_invite", rest), dispatch_id=job.dispatch_id)
            return made.to_binary()
        case _:
            return b""
