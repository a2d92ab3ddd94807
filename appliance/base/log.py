"""Logs as one JSON object a line, or as readable lines on a terminal.

Invariant: a `Secret` or a field with a secret's name is never printed, and events are constants
with fields, never sentences with values in them.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Final, TextIO

import structlog

_SECRET_NAMES: Final = frozenset(
    {"password", "secret", "token", "api_key", "authorization", "private_key", "cookie", "email"}
)
_REDACTED: Final = "[REDACTED]"


def configure_logging(
    *, component: str, readable: bool, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Send every log line of this process to `stream` (default standard error).

    `component` stands on every line; `readable` chooses the form for people over JSON.
    """
    target = stream or sys.stderr
    renderer = (
        structlog.dev.ConsoleRenderer(colors=target.isatty())
        if readable
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(component=component)


def redact(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Replace the value of every field whose name is a secret's."""
    for name in event:
        if name.lower() in _SECRET_NAMES:
            event[name] = _REDACTED
    return event
