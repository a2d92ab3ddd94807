"""What nobody asks for costs nothing [decision 0032]."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


def imported_by(modules: str) -> set[str]:
    """Which of the graph's libraries a fresh interpreter has after importing these."""
    look = f"import sys; import {modules}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    return {"strawberry", "graphql"} & set(told.stdout.split())


def test_the_graph_is_imported_by_nobody_before_the_first_question() -> None:
    """Not by the API, not by a worker."""
    assert imported_by("appliance.api.server, appliance.workers.background") == set()


def test_the_first_question_needs_it() -> None:
    """The control arm: the look above would see it."""
    assert imported_by("appliance.api.graphql.run") == {"strawberry", "graphql"}
