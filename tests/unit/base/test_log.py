"""Log lines: constants with fields, secrets redacted."""

import io
import json

import pytest
import structlog

from appliance.base.log import configure_logging


@pytest.fixture(autouse=True)
def fresh_logging() -> object:
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def test_a_line_is_one_json_object_without_secrets() -> None:
    """Component, level and time stand on every line; a secret's field never shows."""
    stream = io.StringIO()
    configure_logging(component="api", readable=False, stream=stream)
    structlog.get_logger().info("key_refused", token="prv_1", path="/x")
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "component": "api",
        "event": "key_refused",
        "level": "info",
        "path": "/x",
        "token": "[REDACTED]",
    }


def test_a_readable_line_is_for_people() -> None:
    """The event stands as text, secrets still do not."""
    stream = io.StringIO()
    configure_logging(component="api", readable=True, stream=stream)
    structlog.get_logger().warning("engine_ready", password="geheim")
    assert "engine_ready" in stream.getvalue()
    assert "geheim" not in stream.getvalue()
