"""Whatever is done with refresh tokens in whatever order, families behave as a model of them."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.base.errors import UnauthenticatedError
from appliance.config.model import Settings
from appliance.services.sessions import REFRESH_LIFETIME
from tests.support.control import ADDRESS, ControlStack, Person, control_stack

pytestmark = pytest.mark.integration

STEPS = st.lists(
    st.one_of(
        st.just(("open", 0)),
        st.tuples(st.just("refresh"), st.integers(0, 30)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.sampled_from([1, 40, 89, 90])),
    ),
    max_size=25,
)


class Token:
    """A refresh token as the model knows it."""

    def __init__(self, text: str, family: int, expires_at: datetime) -> None:
        self.text = text
        self.family = family
        self.expires_at = expires_at
        self.used = False


class Model:
    """What [services 3.3] says, without a database."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.ended: set[int] = set()
        self.families = 0

    def may_refresh(self, token: Token, now: datetime) -> bool:
        """The verdict about a presented token; reuse ends the family."""
        if token.family in self.ended:
            return False
        if token.used:
            self.ended.add(token.family)
            return False
        if token.expires_at <= now:
            return False
        token.used = True
        return True


class Running:
    """One stack on one event loop, for tests that are not coroutines."""

    def __init__(self, engines: Settings) -> None:
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.control, self.person = self.runner.run(self._open(engines))

    async def _open(self, engines: Settings) -> tuple[ControlStack, Person]:
        control = await self._stack.enter_async_context(control_stack(engines))
        return control, await control.make_person("rex@pug.test")

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()


@pytest.fixture(scope="module")
def running(engines: Settings) -> Generator[Running]:
    opened = Running(engines)
    yield opened
    opened.close()


async def play(control: ControlStack, person: Person, steps: list[tuple[str, int]]) -> None:
    sessions, model = control.services.control.sessions, Model()

    def keep(text: str, family: int) -> None:
        model.tokens.append(Token(text, family, control.clock.now() + REFRESH_LIFETIME))

    async def open_one() -> None:
        async with control.database.transaction() as transaction:
            session = await sessions.open(
                transaction,
                customer_id=person.id,
                email=person.email,
                address=ADDRESS,
                how="password",
            )
        model.families += 1
        keep(session.refresh.reveal(), model.families)

    await open_one()
    for step, number in steps:
        token = model.tokens[number % len(model.tokens)]
        if step == "open":
            await open_one()
        elif step == "wait":
            control.clock.advance(number * 86400)
        elif step == "end":
            await sessions.end(token.text, ADDRESS)
            model.ended.add(token.family)
        elif model.may_refresh(token, control.clock.now()):
            keep((await sessions.refresh(token.text, ADDRESS)).refresh.reveal(), token.family)
        else:
            with pytest.raises(UnauthenticatedError, match="the session has ended"):
                await sessions.refresh(token.text, ADDRESS)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_families_behave_as_their_model(running: Running, steps: list[tuple[str, int]]) -> None:
    """Rotation, reuse, sign-out and expiry, in any order and in several families."""
    running.runner.run(play(running.control, running.person, steps))
