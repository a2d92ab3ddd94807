"""Callers who go away before their answer."""

import asyncio

import pytest
from litestar.types import HTTPDisconnectEvent, HTTPReceiveMessage

from appliance.api.graphql.door import unless_gone
from appliance.api.graphql.telling import Told

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
