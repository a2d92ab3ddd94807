"""What every test gets: asyncio as the only loop, and no inherited settings."""

import os
import sys
from typing import Final

import pytest

_ANSWERS: Final = "control_answers"
_gathered: Final[set[str]] = set()
_OURS = ("PUG_", "OIDC_", "DATABASE_URL", "NATS_", "CLICKHOUSE_", "REDIS_URL", "DB_", "OTEL_")

for _name in [name for name in os.environ if name.startswith(_OURS)]:
    del os.environ[_name]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The one event loop the appliance runs on."""
    return "asyncio"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what the control plane's methods answered to the process that reports."""
    control = sys.modules.get("tests.support.control")
    workeroutput = getattr(session.config, "workeroutput", None)
    if control is not None and workeroutput is not None:
        workeroutput[_ANSWERS] = control.answer_table()


class _AnswersOfWorkers:
    """Gathers the tables of pytest's worker processes."""

    def pytest_testnodedown(self, node: object) -> None:
        _gathered.update(getattr(node, "workeroutput", {}).get(_ANSWERS, ()))


def pytest_configure(config: pytest.Config) -> None:
    """Listen to worker processes where there are any."""
    if config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_AnswersOfWorkers())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table RPC by documented answer, where RPCs of the control plane were called."""
    control = sys.modules.get("tests.support.control")
    met = {*_gathered, *(control.answer_table() if control is not None else ())}
    if met:
        from tests.support.documented import render_table  # noqa: PLC0415 needs the product

        terminalreporter.section("RPC by documented answer, and the forms it was met in")
        for line in render_table(met):
            terminalreporter.line(line)
