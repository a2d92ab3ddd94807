"""Webhooks on a real receiver: signed, bounded, and nowhere but where the operator said."""

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.base.errors import UnavailableError, UnmetError
from appliance.config.model import Settings
from appliance.domain.alerts.destinations import parse_allow_list
from appliance.domain.alerts.messages import ATTEMPTS_MAX
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.services.alerts.webhooks import Post, WebhookSender
from tests.support.alert_stage import AlertStage, alert_settings, alert_stage, content
from tests.support.authority import Authority, write_pem
from tests.support.clocks import FixedClock
from tests.support.webhook_receiver import HANG, Receiver, receiver

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

YESTERDAY = datetime(2026, 5, 9, 12, tzinfo=UTC)
PENDING, SENT, GIVEN_UP = (
    pb.DeliveryState.PENDING,
    pb.DeliveryState.SENT,
    pb.DeliveryState.GIVEN_UP,
)


async def fire(stage: AlertStage, url: str) -> tuple[pb.Alert, str]:
    """An alert that fires, and the secret of its webhook."""
    sent = content(webhooks=[pb.Webhook(url=url)])
    made = await stage.call("Create", pb.CreateRequest(content=sent))
    await stage.store(11, YESTERDAY)
    assert await stage.evaluate() == "evaluated 1 alerts: 1 fired"
    return made.alert, made.secrets[0].secret


async def delivery(stage: AlertStage) -> pb.Delivery:
    """The newest message of the newest firing."""
    found = (await stage.firings())[0].deliveries
    return found[-1]


async def test_a_signed_post(engines: Settings) -> None:
    """Beginning and end arrive once each; who has the secret can check them."""
    with receiver() as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            alert, secret = await fire(stage, f"http://127.0.0.1:{taken.port}/hook?x=1")
            assert await stage.deliver() == 1
            assert await stage.deliver() == 0
            told = await delivery(stage)
            await stage.go_to(datetime(2026, 5, 11, 9, 30, tzinfo=UTC))
            await stage.evaluate()
            assert await stage.deliver() == 1
        first, second = taken.posts
    assert first.path == "/hook?x=1"
    assert first.headers["host"] == f"127.0.0.1:{taken.port}"
    assert first.headers["x-pug-delivery"] == told.delivery_id
    assert first.told()["id"] == told.delivery_id
    assert [one.told()["event"] for one in taken.posts] == ["alert.fired", "alert.resolved"]
    assert first.told()["value"] == 11
    assert first.told()["alert"] == {"id": alert.id, "name": "Too many"}
    for post in (first, second):
        signed = post.headers["x-pug-timestamp"].encode() + b"." + post.body
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        assert post.headers["x-pug-signature"] == f"sha256={expected}"


async def test_secrets_are_told_once_and_kept_sealed(engines: Settings) -> None:
    async with alert_stage(engines, alert_settings(engines, "hooks.example")) as stage:
        sent = content(webhooks=[pb.Webhook(url="http://hooks.example/a")])
        made = await stage.call("Create", pb.CreateRequest(content=sent))
        (secret,) = made.secrets
        assert len(secret.secret) == 64
        for told in (made.alert, await stage.get(made.alert.id)):
            assert secret.secret not in repr(told.to_json())
        (row,) = await stage.control.database.rows("SELECT * FROM alert_webhooks")
        assert secret.secret.encode() not in bytes(row["sealed_secret"])  # type: ignore[arg-type] bytes
        kept = made.alert.content.webhooks[0]
        both = content(webhooks=[kept, pb.Webhook(url="http://hooks.example/b")])
        request = pb.UpdateRequest(id=made.alert.id, content=both)
        updated = await stage.call("Update", request)
        (fresh,) = updated.secrets
        assert fresh.webhook_id != secret.webhook_id == updated.alert.content.webhooks[0].id
        moved = content(webhooks=[pb.Webhook(id=kept.id, url="http://hooks.example/c")])
        refusal = await stage.refused("Update", pb.UpdateRequest(id=made.alert.id, content=moved))
        assert refusal.reason == "INVALID_WEBHOOK"


async def test_without_a_list_or_a_key_there_are_no_webhooks(engines: Settings) -> None:
    no_key = Settings(data_dir=engines.data_dir, alerts=alert_settings(engines, "a.example").alerts)
    for settings, reason in (
        (alert_settings(engines), "WEBHOOKS_OFF"),
        (no_key, "ALERT_SECRET_KEY_MISSING"),
    ):
        async with alert_stage(engines, settings) as stage:
            sent = content(webhooks=[pb.Webhook(url="http://a.example/")])
            refusal = await stage.refused("Create", pb.CreateRequest(content=sent))
            assert (refusal.code, refusal.reason) == ("failed_precondition", reason)


async def test_a_receiver_that_is_away_is_tried_again(engines: Settings) -> None:
    """The same body under the same id, at growing distances, until it is taken."""
    with receiver(503, 500, 204) as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            await fire(stage, f"http://127.0.0.1:{taken.port}/")
            assert await stage.deliver() == 1
            told = await delivery(stage)
            assert (told.state, told.problem) == (PENDING, "the receiver answered 503")
            stage.clock.advance(29)
            assert await stage.deliver() == 0
            stage.clock.advance(1)
            assert await stage.deliver() == 1
            stage.clock.advance(60)
            assert await stage.deliver() == 1
            told = await delivery(stage)
            assert (told.state, told.attempts) == (SENT, 3)
        assert len({post.body for post in taken.posts}) == 1
        assert {post.headers["x-pug-delivery"] for post in taken.posts} == {told.delivery_id}


async def test_attempts_are_bounded(engines: Settings) -> None:
    with receiver(503) as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            await fire(stage, f"http://127.0.0.1:{taken.port}/")
            for _ in range(ATTEMPTS_MAX + 3):
                await stage.deliver()
                stage.clock.advance(3600)
            told = await delivery(stage)
            assert (told.state, told.attempts) == (GIVEN_UP, ATTEMPTS_MAX)
        assert len(taken.posts) == ATTEMPTS_MAX


async def test_redirects_are_refusals(engines: Settings) -> None:
    """Wherever it points, nobody goes there."""
    with receiver() as elsewhere, receiver(307, location=_url(elsewhere)) as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            await fire(stage, _url(taken))
            await stage.deliver()
            told = await delivery(stage)
            assert (told.state, told.problem) == (GIVEN_UP, "the receiver answered 307")
        assert (len(taken.posts), elsewhere.posts) == (1, [])


async def test_a_host_that_was_taken_from_the_list_gets_nothing(engines: Settings) -> None:
    """The list is asked when something is sent, not only when the webhook was made."""
    with receiver() as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            await fire(stage, _url(taken))
            other = AlertStage(
                stage.control,
                alert_settings(engines, "127.0.0.2"),
                org=stage.org,
                project=stage.project,
                member=stage.member,
            )
            await other.deliver()
            told = await delivery(stage)
            assert told.state is GIVEN_UP
            assert "does not allow" in told.problem
        assert taken.posts == []


async def test_a_marked_test(engines: Settings) -> None:
    """A test is told as one, listed as one, changes no state, and not twice within a moment."""
    with receiver() as taken:
        async with alert_stage(engines, alert_settings(engines, "127.0.0.1")) as stage:
            alert = await stage.make(webhooks=[pb.Webhook(url=_url(taken))])
            await stage.store(11, YESTERDAY)
            tried = await stage.call("Test", pb.TestRequest(id=alert.id))
            assert (tried.holds, tried.evaluation.value, tried.firing_id) == (True, 11, "")
            tried = await stage.call("Test", pb.TestRequest(id=alert.id, send=True))
            assert await stage.deliver() == 1
            (firing,) = await stage.firings()
            assert (firing.id, firing.is_test, firing.end_cause) == (tried.firing_id, True, "test")
            assert (await stage.get(alert.id)).state is pb.State.OK
            refusal = await stage.refused("Test", pb.TestRequest(id=alert.id, send=True))
            assert refusal.reason == "ALERT_TESTED_JUST_NOW"
        (post,) = taken.posts
    assert post.told()["event"] == "alert.test"


def _url(taken: Receiver) -> str:
    return f"http://127.0.0.1:{taken.port}/"


class Names:
    """A resolver that answers as told, another answer for each question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def post(url: str) -> Post:
    return Post(url=url, secret="s", delivery_id="d", body=b"{}")


def sender(names: Names, *hosts: str, seconds_max: float = 10.0, ca: Path | None = None):
    allowed = parse_allow_list(hosts)
    clock = FixedClock()
    return WebhookSender(allowed, clock, resolve=names, seconds_max=seconds_max, ca_file=ca)


async def test_a_name_is_resolved_once_and_its_address_pinned() -> None:
    """A name that leads to a permitted address first and inside afterwards leads to the first."""
    with receiver() as taken:
        names = Names(["127.0.0.1"], ["169.254.169.254"])
        listed = sender(names, "hooks.example", f"127.0.0.1:{taken.port}")
        await listed.send(post(f"http://hooks.example:{taken.port}/x"))
        assert names.asked == ["hooks.example"]
        (got,) = taken.posts
        assert got.headers["host"] == f"hooks.example:{taken.port}"
        with pytest.raises(UnmetError) as caught:
            await listed.send(post(f"http://hooks.example:{taken.port}/x"))
        assert caught.value.reason == "WEBHOOK_ADDRESS_REFUSED"
        assert len(taken.posts) == 1


async def test_control_arm_without_the_check_loopback_is_reached() -> None:
    """A listed name that leads to loopback: refused, and reached only because it was listed."""
    with receiver() as taken:
        url = f"http://hooks.example:{taken.port}/x"
        with pytest.raises(UnmetError) as caught:
            await sender(Names(["127.0.0.1"]), "hooks.example").send(post(url))
        assert caught.value.reason == "WEBHOOK_ADDRESS_REFUSED"
        assert taken.posts == []
        await sender(Names(["127.0.0.1"]), "hooks.example", "127.0.0.1").send(post(url))
        assert len(taken.posts) == 1


async def test_one_deadline_and_broken_connections() -> None:
    with receiver(HANG) as taken:
        names = Names(["127.0.0.1"])
        impatient = sender(names, "h.example", "127.0.0.0/8", seconds_max=0.3)
        with pytest.raises(UnavailableError) as caught:
            await impatient.send(post(f"http://h.example:{taken.port}/"))
        assert caught.value.message == "no answer in time"
        port = taken.port
    with pytest.raises(UnavailableError) as caught:
        await sender(names, "h.example", "127.0.0.0/8").send(post(f"http://h.example:{port}/"))
    assert caught.value.message == "the connection failed (ConnectError)"

    class NoNames(Names):
        async def __call__(self, host: str, _port: int) -> Sequence[str]:
            raise OSError(host)

    with pytest.raises(UnavailableError):
        await sender(NoNames([]), "h.example").send(post("http://h.example/"))


async def test_an_address_that_takes_no_connection_is_followed_by_the_next() -> None:
    with receiver() as taken:
        names = Names(["127.0.0.9", "127.0.0.1"])
        both = sender(names, "h.example", "127.0.0.0/8")
        await both.send(post(f"http://h.example:{taken.port}/"))
        assert len(taken.posts) == 1


async def test_https_checks_the_name_of_the_url(tmp_path: Path) -> None:
    """The certificate must be of the listed name and authority, although an address is dialled."""
    authority = Authority()
    chain = (authority.issue(["hooks.example"]), authority.intermediate)
    file, key = write_pem(tmp_path, *chain, key=authority.key)
    root = tmp_path / "root.pem"
    root.write_bytes(authority.pem(authority.root))
    with receiver(certificate=(file, key)) as taken:
        hosts = ("hooks.example", "other.example", "127.0.0.1")
        names = Names(["127.0.0.1"])
        good = sender(names, *hosts, ca=root)
        await good.send(post(f"https://hooks.example:{taken.port}/"))
        with pytest.raises(UnavailableError):
            await good.send(post(f"https://other.example:{taken.port}/"))
        with pytest.raises(UnavailableError):
            await sender(names, *hosts).send(post(f"https://hooks.example:{taken.port}/"))
        assert len(taken.posts) == 1


async def test_who_left_the_organisation_is_not_told(engines: Settings) -> None:
    async with alert_stage(engines, alert_settings(engines)) as stage:
        leaver = await stage.control.make_member(org_id=stage.org)
        await stage.make(member_ids=[leaver.id])
        await stage.store(11, YESTERDAY)
        await stage.evaluate()
        await stage.control.database.execute(
            "DELETE FROM org_members WHERE customer_id = $1", leaver.id
        )
        stage.clock.advance(timedelta(minutes=1).total_seconds())
        await stage.deliver()
        told = await delivery(stage)
        assert told.state is GIVEN_UP
        assert "not a member" in told.problem
