"""One OpenID provider for all tests here."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.openid import (
    RunningProvider,
    running_provider,
)
from tests.support.single_sign_on import CLIENTS


@pytest.fixture(scope="session")
async def shared_provider() -> AsyncGenerator[RunningProvider]:
    async with running_provider(*CLIENTS) as running:
        yield running


@pytest.fixture
async def provider(shared_provider: RunningProvider) -> RunningProvider:
    """A provider that knows Mina; it is the same for all tests, its counts go on."""
    await shared_provider.add_account(
        "mina", email="Mina@Pug.test", email_verified=True, name="Mina Mops"
    )
    return shared_provider
