"""Callers who go away before their answer."""

import asyncio

import pytest
from litestar.types import HTTPDisconnectEvent, HTTPReceiveMessage

from appliance.api.graphql.telling import Told
from appliance.api.leaving import unless_gone
from appliance.base.errors import InvalidInputError

pytestmark = pytest.mark.anyio

GONE: HTTPDisconnectEvent = {"type": "http.disconnect"}


async def test_work_for_nobody_is_ended() -> None:
    """And nothing of it goes on."""
    begun, ended, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> Told:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("nobody ends this")

    async def receive() -> HTTPReceiveMessage:
        await begun.wait()
        left.set()
        return GONE

    assert await unless_gone(work(), receive) is None
    assert ended.is_set()
    assert left.is_set()


async def test_who_stays_is_answered() -> None:
    """The control arm; the look-out ends with the answer."""
    looked = asyncio.Event()

    async def work() -> Told:
        return Told(status=200, body=b"{}")

    async def receive() -> HTTPReceiveMessage:
        looked.set()
        await asyncio.Event().wait()
        return GONE

    told = await unless_gone(work(), receive)
    assert told is not None
    assert told.body == b"{}"


async def test_a_cancelled_request_ends_its_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> Told:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("nobody ends this")

    async def receive() -> HTTPReceiveMessage:
        await asyncio.Event().wait()
        return GONE

    asking = asyncio.ensure_future(unless_gone(work(), receive))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert ended.is_set()


async def test_work_that_is_told_may_end_by_itself() -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        await told.wait()
        return "tidied up"

    async def receive() -> HTTPReceiveMessage:
        await begun.wait()
        return GONE

    assert await unless_gone(work(), receive, tell=told.set, patience_seconds=30) == "tidied up"


async def test_an_error_comes_as_it_is() -> None:
    """Not in a group: whoever tells it to the caller looks at its kind."""

    async def work() -> str:
        raise InvalidInputError("INVALID_ARGUMENT", "no")

    async def receive() -> HTTPReceiveMessage:
        await asyncio.Event().wait()
        return GONE

    with pytest.raises(InvalidInputError):
        await unless_gone(work(), receive)
