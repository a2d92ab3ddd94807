"""Bodies that never end, in time or in size."""

import asyncio
import gzip

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from appliance.api.call import Boundary, Call, current_call
from appliance.api.limits import BoundedGzip, BoundedZstd, limited

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def call() -> Call:
    call = Call(request_id="0" * 20, boundary=Boundary.SDK, headers={}, peer="")
    current_call.set(call)
    return call


async def test_a_body_that_never_comes(call: Call):
    """A sender that stalls is let go with a code that lets it try again."""
    current_call.set(call)
    receive = limited(asyncio.Event().wait, 1000, seconds_max=0.01)  # type: ignore[arg-type]
    with pytest.raises(ConnectError) as refusal:
        await receive()
    assert refusal.value.code is Code.DEADLINE_EXCEEDED
    assert call.reason == "DEADLINE_EXCEEDED"


async def test_after_the_body_nothing_is_limited(call: Call):
    """Waiting for a disconnect is not waiting for the body."""
    current_call.set(call)
    messages = [{"type": "http.request", "body": b"x", "more_body": False}]

    async def receive() -> object:
        if messages:
            return messages.pop()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    bounded = limited(receive, 1000, seconds_max=0.01)  # type: ignore[arg-type]
    assert (await bounded())["type"] == "http.request"
    assert (await bounded())["type"] == "http.disconnect"


@pytest.mark.parametrize("packing", [BoundedGzip(1000), BoundedZstd(1000)])
def test_bombs(call: Call, packing: BoundedGzip | BoundedZstd):
    """What unpacks to more than the limit is refused, what unpacks to the limit is not."""
    current_call.set(call)
    assert packing.decompress(packing.compress(b" " * 1000)) == b" " * 1000
    with pytest.raises(ConnectError) as refusal:
        packing.decompress(packing.compress(b" " * 10_000_000))
    assert refusal.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("tail", [b"more", gzip.compress(b"x")], ids=["more", "member"])
def test_gzip_with_something_behind(call: Call, tail: bytes):
    """One gzip stream is one body."""
    current_call.set(call)
    with pytest.raises(ConnectError):
        BoundedGzip(1000).decompress(gzip.compress(b"x") + tail)
