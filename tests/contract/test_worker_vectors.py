"""What becomes of a failed message, by the shared vectors; real queues are in tests/integration."""

import pytest
from protobuf import Oneof

from appliance.base.errors import (
    ApplianceError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UnmetError,
)
from appliance.domain.delivery import (
    DELIVERIES_MAX,
    DeadLetter,
    Disposition,
    RetryAfter,
    is_permanent,
    judge,
)
from appliance.domain.ingest.blocks import parse_message
from appliance.domain.mail.names import NAME_BYTES_MAX, clean_name
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.email.v1.email_pb import EmailJob, MagicLinkPayload
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage
from appliance.services.mail.delivery import parse_job
from appliance.services.schema_rules import read_message
from tests.support.vectors import Case, cases_of

NAMELESS = ProfileIdentifyMessage(project_id="p", external_id="")
RESERVED = ProfileIdentifyMessage(project_id="p", external_id="cookieless-1")
ALIAS_OF_NOBODY = ProfileAliasMessage(alias_id="a", external_id="e", project_id="p")
HOMELESS = ProfileUpsertMessage(profile_id="i")
BLANK = EmailJob(
    payload=Oneof("magic_link", MagicLinkPayload(email="a@b.test", token="t")), dispatch_id=" "
)


@pytest.mark.parametrize("case", cases_of("retry_delays"))
def test_retry_delays(case: Case):
    verdict = judge(
        permanent=False,
        delivery=case["delivery"],
        deliveries_max=case.get("maxDeliver", DELIVERIES_MAX),
    )
    if case.get("deadLetter"):
        assert verdict == DeadLetter(Disposition.MAX_DELIVER)
    else:
        assert verdict == RetryAfter(case["delay"])


def raised(act: object, *given: object) -> Exception:
    """What a real parser raises."""
    with pytest.raises(ApplianceError) as caught:
        act(*given)  # type: ignore[operator]
    return caught.value


INVALID = InvalidInputError("INVALID_ARGUMENT", "decoded or validated in vain")
AWAY = UnavailableError("UNAVAILABLE", "the store does not answer")
FAILURES: dict[tuple[str, str], Exception] = {
    ("events", "undecodable payload"): raised(parse_message, 1, b"\xff"),
    ("events", "event without occur_time"): INVALID,
    ("events", "row cannot be encoded"): INVALID,
    ("events", "store refuses connection"): AWAY,
    ("identify", "empty external id"): raised(
        read_message, ProfileIdentifyMessage, NAMELESS.to_binary()
    ),
    ("identify", "external id with reserved prefix"): raised(
        read_message, ProfileIdentifyMessage, RESERVED.to_binary()
    ),
    ("identify", "database down"): AWAY,
    ("identify", "merge committed, publish fails"): AWAY,
    ("alias", "missing profile id"): raised(
        read_message, ProfileAliasMessage, ALIAS_OF_NOBODY.to_binary()
    ),
    ("upsert", "sending the row fails"): AWAY,
    ("upsert", "missing project id"): raised(
        read_message, ProfileUpsertMessage, HOMELESS.to_binary()
    ),
    ("compliance", "ledger row missing"): NotFoundError("NOT_FOUND", "no such row"),
    ("compliance", "no identifiers on the row"): UnmetError("NO_IDENTIFIERS", "nobody is named"),
    ("email", "blank dispatch id"): raised(parse_job, BLANK.to_binary()),
    ("email", "invitation no longer exists"): UnmetError("INVITATION_NOT_FOUND", "revoked"),
    ("email", "database down while looking up the invitation"): AWAY,
    ("email", "provider temporary failure"): UnavailableError("MAIL_PROVIDER_UNAVAILABLE", "451"),
    ("any", "handler ran into its timeout"): TimeoutError(),
    ("any", "delivery metadata unreadable and handler failed"): RuntimeError("a bug"),
    ("any", "dead-letter publish fails"): RuntimeError("a bug"),
}
"""The failure that each situation is to the frame of the workers."""
SUCCESSES = {("events", "valid envelope, zero events")}


@pytest.mark.parametrize("case", cases_of("worker_disposition"))
def test_worker_disposition(case: Case):
    """The verdict of `workers/queue.py`; that it is carried out is shown against a real queue."""
    situation = (case["worker"], case["situation"])
    if situation in SUCCESSES:
        assert case["disposition"] == "ack"
        return
    failure = FAILURES[situation]
    readable = "metadata unreadable" not in case["situation"]
    verdict = judge(
        permanent=is_permanent(failure), delivery=case["delivery"] if readable else None
    )
    wanted = case["disposition"]
    if wanted == "retry":
        assert isinstance(verdict, RetryAfter)
    else:
        assert isinstance(verdict, DeadLetter)


@pytest.mark.parametrize("case", cases_of("display_name"))
def test_display_name(case: Case):
    cleaned = clean_name(case["in"])
    assert cleaned == case["out"]
    assert len(cleaned.encode()) <= NAME_BYTES_MAX
