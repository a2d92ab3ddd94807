"""Jobs on the queue: what is refused, and what is left of one in a dead letter."""

import pytest
from protobuf import Message, Oneof

from appliance.base.errors import ApplianceError, InvalidInputError, UnavailableError, UnmetError
from appliance.gen.workers.email.v1.email_pb import (
    EmailJob,
    MagicLinkPayload,
    OrgMemberInvitePayload,
)
from appliance.services.mail.carriers import without_secrets
from appliance.services.mail.delivery import parse_job, without_token

TOKEN = "the-secret-itself"
LINK = EmailJob(
    payload=Oneof("magic_link", MagicLinkPayload(email="ada@example.org", token=TOKEN)),
    dispatch_id="d1",
)
INVITE = EmailJob(
    payload=Oneof(
        "org_member_invite",
        OrgMemberInvitePayload(email="ada@example.org", invitation_id="i1", token=TOKEN),
    ),
    dispatch_id="d2",
)
BURNED = b"\x0a\x11" + b"the-secret-itself"
"""Field 1, which older releases used for a payload with a token."""


@pytest.mark.parametrize("job", [LINK, INVITE])
def test_a_job_survives_the_queue(job: Message):
    assert parse_job(job.to_binary()) == job


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xff",
        BURNED,
        EmailJob(dispatch_id="d").to_binary(),
        EmailJob(payload=LINK.payload).to_binary(),
        EmailJob(payload=LINK.payload, dispatch_id="").to_binary(),
        EmailJob(payload=LINK.payload, dispatch_id=" \t").to_binary(),
        EmailJob(
            payload=Oneof("magic_link", MagicLinkPayload(email="nobody", token="t")),
            dispatch_id="d",
        ).to_binary(),
        EmailJob(
            payload=Oneof("magic_link", MagicLinkPayload(email="a@b.test")), dispatch_id="d"
        ).to_binary(),
    ],
)
def test_what_can_never_be_sent_is_final(payload: bytes):
    with pytest.raises(InvalidInputError):
        parse_job(payload)


@pytest.mark.parametrize(
    "payload",
    [LINK.to_binary(), INVITE.to_binary(), LINK.to_binary() + BURNED, BURNED, b"\xff" + b"x" * 20],
)
def test_no_token_is_kept(payload: bytes):
    """What is left names recipient and dispatch, and is refused at once when it comes back."""
    left = without_token(payload)
    assert TOKEN.encode() not in left
    with pytest.raises(InvalidInputError):
        parse_job(left)


def test_what_is_left_tells_which_job_it_was():
    left = EmailJob.from_binary(without_token(INVITE.to_binary()))
    assert left.dispatch_id == "d2"
    assert left.payload is not None
    assert left.payload.value == OrgMemberInvitePayload(email="ada@example.org", invitation_id="i1")


@pytest.mark.parametrize("kind", [UnmetError, UnavailableError])
def test_a_provider_that_repeats_the_token_is_not_quoted(kind: type[ApplianceError]):
    error = kind("MAIL_REFUSED", f"no: {TOKEN}", hint="h")
    cleaned = without_secrets(error, {"token": TOKEN})
    assert (type(cleaned), cleaned.reason, cleaned.message) == (kind, "MAIL_REFUSED", "no: [token]")
