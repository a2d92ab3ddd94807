"""An alert in the whole appliance: made by HTTP, judged by the scheduler, posted by the worker."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path

import pytest

from tests.support.stack import Json, Stack, pug, running_stack, until
from tests.support.webhook_receiver import receiver

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

SERVICE = "/appliance.alerts.v1.AlertsService"
TOLD_SECONDS_MAX = 60


def call(stack: Stack, method: str, body: Json) -> Json:
    """Call the alerts of the first project with its private key."""
    headers = {"x-api-key": stack.connection.private_key}
    answer = stack.client.post(f"{SERVICE}/{method}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def test_nobody_orders_and_a_machine_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one run of the job: the condition holds, the signed post arrives, once."""
    key = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("PUG_EMAIL_PROVIDER_SECRET_KEY", key)
    with (
        receiver() as taken,
        running_stack(tmp_path / "pug", "--set", "alerts.webhook_hosts=127.0.0.1") as stack,
    ):
        content: Json = {
            "displayName": "No orders",
            "enabled": True,
            "spec": {
                "insightType": "INSIGHT_TYPE_TRENDS",
                "events": [{"event": {"kind": "order"}}],
            },
            "window": {"granularity": "GRANULARITY_MINUTE", "periods": 5},
            "condition": {"comparison": "COMPARISON_BELOW", "amount": 1},
            "frequency": "FREQUENCY_EVERY_5_MINUTES",
            "webhooks": [{"url": f"http://127.0.0.1:{taken.port}/hook"}],
        }
        made = call(stack, "Create", {"content": content})
        stack.wait_led()
        for _ in range(2):
            ran = pug("jobs", "run", "alerts", "--json", data_dir=stack.data_dir)
            assert ran.returncode == 0, ran.stderr
        post = until(lambda: (taken.posts or [None])[0], what="a post", seconds=TOLD_SECONDS_MAX)
        secret = made["secrets"][0]["secret"]  # type: ignore[index] the shape of the answer
        signed = post.headers["x-pug-timestamp"].encode() + b"." + post.body
        expected = hmac.new(str(secret).encode(), signed, hashlib.sha256).hexdigest()
        assert post.headers["x-pug-signature"] == f"sha256={expected}"
        assert post.told()["event"] == "alert.fired"

        def settled() -> Json | None:
            firings = call(stack, "ListFirings", {})["firings"]
            assert isinstance(firings, list)
            (firing,) = firings
            sent = firing["deliveries"][0]["state"] == "DELIVERY_STATE_SENT"
            return firing if sent else None

        firing = until(settled, what="settled", seconds=TOLD_SECONDS_MAX)
        assert firing["deliveries"][0]["deliveryId"] == post.headers["x-pug-delivery"]  # type: ignore[index] the shape of the answer

        def ended() -> Json | None:
            listed = pug("jobs", "list", "--json", data_dir=stack.data_dir)
            jobs = {job["name"]: job for job in json.loads(listed.stdout)["jobs"]}
            last: Json = jobs["alerts"]["last"]
            return last if last["ended_at"] else None  # it runs by itself every five minutes

        assert until(ended, what="a run", seconds=TOLD_SECONDS_MAX)["outcome"] == "ok"
        assert len(taken.posts) == 1
        logs = b"".join(path.read_bytes() for path in (tmp_path / "pug" / "logs").iterdir())
        assert str(secret).encode() not in logs
