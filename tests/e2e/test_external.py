"""Engines that somebody else runs: used and asked, never started."""

from pathlib import Path

import pytest

from appliance.config.endpoints import resolve_endpoints
from tests.support.engines import started_engines
from tests.support.stack import make_event, running_stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_external_engines_are_used_and_not_started(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[configuration 2] three URLs in the environment; an event still becomes an answer."""
    with started_engines(tmp_path / "engines") as elsewhere:
        stores = resolve_endpoints(elsewhere)
        queue, events = stores.nats, stores.clickhouse
        assert queue.password is not None
        assert events.password is not None
        monkeypatch.setenv("DATABASE_URL", stores.postgres.url.reveal())
        monkeypatch.setenv(
            "NATS_URL",
            queue.url.reveal().replace("//", f"//{queue.user}:{queue.password.reveal()}@"),
        )
        monkeypatch.setenv(
            "CLICKHOUSE_URL",
            f"http://{events.user}:{events.password.reveal()}@{events.host}:{events.port}/pug",
        )
        with running_stack(data_dir) as stack:
            assert stack.post([make_event("elsewhere")]).status_code == 200
            stack.trend_reaches("elsewhere", 1)
            told = stack.status()
            assert {name for name, line in told.items() if line["external"]} == {
                "postgres",
                "nats",
                "clickhouse",
            }
            assert not (data_dir / "postgres" / "cluster").exists()
