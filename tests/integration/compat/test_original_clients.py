"""What the original's own clients do on the wire [sdk-protocol], by the libraries they are made of.

The clients themselves are in no package registry. Their transports are: connect-es in Node and in
a browser, driven with the options, headers and retry rules that were seen.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.storage.clickhouse.client import ClickHouse
from tests.support.foreign import descriptors, forgetful, has_node, run_program
from tests.support.stack import VISIBLE_SECONDS_MAX, Stack, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not has_node(), reason="needs node and npm"),
]


def kinds(stack: Stack, ids: str, wanted: Iterable[str]) -> dict[str, int]:
    """How often these kinds are stored for ids like these; every copy counts."""

    async def ask() -> dict[str, int]:
        store = ClickHouse(resolve_endpoints(Settings(data_dir=stack.data_dir)).clickhouse)
        try:
            found = await store.rows(
                "SELECT kind, count() FROM events"
                " WHERE distinct_id LIKE {ids:String} AND kind IN {kinds:Array(String)}"
                " GROUP BY kind",
                {"ids": ids, "kinds": list(wanted)},
            )
            return {str(kind): int(str(number)) for kind, number in found}
        finally:
            await store.close()

    return asyncio.run(ask())


def reaches(stack: Stack, ids: str, wanted: dict[str, int]) -> None:
    def enough() -> dict[str, int] | None:
        found = kinds(stack, ids, wanted)
        return found if sum(found.values()) >= sum(wanted.values()) else None

    assert until(enough, what=f"{wanted}", seconds=VISIBLE_SECONDS_MAX, pause=0.2) == wanted


def test_on_servers(stack: Stack, tmp_path: Path):
    """A batch whose answer was lost is sent again as it is and counted once; reads stream; every
    refusal has the code by which the client gives up.
    """
    keys = (stack.connection.public_key, stack.connection.private_key)
    with forgetful(stack.connection.url) as network:
        told = run_program("connect.mjs", network.url, *keys, str(descriptors(tmp_path)))
    assert (told["attempt"], told["accepted"]) == (2, 100)
    assert told["codes"] == {
        "empty": "ok",
        "broken": "InvalidArgument",
        "stranger": "Unauthenticated",
        "nobody": "NotFound",
        "publicRead": "Unauthenticated",
        "devices": "Unimplemented",
    }
    assert told["traits"] == {"name": "Mops"}
    assert "user-connect-node" in told["listed"]
    reaches(stack, "anon-connect-node", {"connect_kind": 100})


def test_in_browsers(stack: Stack, tmp_path: Path):
    """Preflights, a lost answer, a beacon while the page is there and one while it goes."""
    key = stack.connection.public_key
    with forgetful(stack.connection.url) as network:
        told = run_program("connect-browser.mjs", network.url, key, str(descriptors(tmp_path)))
    assert told == {
        "sent": {"attempt": 2, "accepted": 2},
        "broken": {"attempt": 1, "code": "InvalidArgument"},
        "stranger": {"attempt": 1, "code": "Unauthenticated"},
        "hidden": True,
    }
    reaches(stack, "%-connect-web", {"page_view": 1, "while_hidden": 1, "while_leaving": 1})
    reaches(stack, "cookieless-%", {"connect_cookieless": 1, "connect_cookieless_leaving": 1})
