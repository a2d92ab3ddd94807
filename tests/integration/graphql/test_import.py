"""What nobody asks for costs nothing [decision 0032]."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


def imported_by(module: str) -> set[str]:
    """Which of the graph's libraries a fresh interpreter has after importing a module."""
    look = f"import sys; import {module}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    return {"strawberry", "graphql"} & set(told.stdout.split())


@pytest.mark.parametrize(
    "module", ["appliance.api.app", "appliance.api.server", "appliance.workers.background"]
)
def test_the_graph_is_imported_by_nobody_before_the_first_question(module: str) -> None:
    assert imported_by(module) == set()


def test_the_first_question_needs_it() -> None:
    """The control arm: the look above would see it."""
    assert imported_by("appliance.api.graphql.run") == {"strawberry", "graphql"}
