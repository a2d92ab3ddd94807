"""The whole appliance with a certificate: every part of it finds the way over HTTPS."""

import ssl
from pathlib import Path

import httpx
import pytest

from tests.support.stack import VISIBLE_SECONDS_MAX, make_event, pug, running_stack, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_stack_speaks_https_as_soon_as_there_is_a_certificate(data_dir: Path):
    """Supervisor's probe, first project, seed, events and insights; then back to plain HTTP."""
    made = pug(
        "tls", "self-signed", "--name", "localhost", "--name", "127.0.0.1", data_dir=data_dir
    )
    assert made.returncode == 0, made.stderr
    pem = pug("tls", "show", "--pem", data_dir=data_dir)
    trust = ssl.create_default_context(cadata=pem.stdout)
    with running_stack(data_dir) as stack:
        url = stack.connection.url
        assert url.startswith("https://")
        with pytest.raises(httpx.ConnectError):
            stack.client.get("/healthz")
        stack.client = httpx.Client(base_url=url, timeout=30, verify=trust)
        assert stack.post([make_event("over_tls")]).status_code == 200
        stack.trend_reaches("over_tls", 1)
        seeded = pug("seed", "--events", "200", "--days", "1", data_dir=data_dir)
        assert seeded.returncode == 0, seeded.stderr
        assert pug("tls", "remove", data_dir=data_dir).returncode == 0
        assert pug("restart", "api", data_dir=data_dir).returncode == 0
        stack.wait_ready()
        plain = url.replace("https:", "http:") + "/readyz"
        until(
            lambda: httpx.get(plain, timeout=30).status_code == 200 or None,
            what="/readyz without TLS",
            seconds=VISIBLE_SECONDS_MAX,
        )
