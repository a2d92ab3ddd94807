"""One appliance for all clients; each has people of its own."""

from collections.abc import Generator

import pytest

from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """A whole appliance."""
    with running_stack(tmp_path_factory.mktemp("compat") / "pug") as running:
        yield running
