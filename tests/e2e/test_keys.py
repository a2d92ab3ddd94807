"""Keys of the whole appliance: made and ended on the command line, used against the API."""

import asyncio
import json
from time import monotonic

import asyncpg
import pytest

from appliance.config.endpoints import resolve_endpoints
from tests.support.engines import engine_settings
from tests.support.stack import Stack, make_event, pug, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

REVOKED_SECONDS_MAX = 30.0
"""What a busy machine may take; what it took is printed, the promise is one second."""


def make_key(stack: Stack) -> tuple[str, str]:
    made = pug(
        *("key", "create", stack.connection.project_id, "--kind", "public", "--json"),
        data_dir=stack.data_dir,
    )
    shown = json.loads(made.stdout)
    return shown["id"], shown["key"]


def status(stack: Stack, key: str) -> int:
    return stack.post([make_event("keys")], key=key).status_code


def is_refused(stack: Stack, key: str, *, how: str) -> None:
    """Wait until the key is refused; from then on it stays refused."""
    began = monotonic()
    until(
        lambda: True if status(stack, key) == 401 else None,
        what=f"401 for a key ended by {how}",
        seconds=REVOKED_SECONDS_MAX,
    )
    print(f"key_refused how={how} seconds={monotonic() - began:.3f}")
    assert {status(stack, key) for _ in range(20)} == {401}


def test_a_revoked_key_is_refused_by_the_running_api(stack: Stack) -> None:
    """One process revokes, another one has the key in its memory."""
    key_id, key = make_key(stack)
    assert status(stack, key) == 200, "a key works as soon as it is printed"
    assert pug("key", "revoke", key_id, data_dir=stack.data_dir).returncode == 0
    is_refused(stack, key, how="revoke")


def test_a_key_that_vanishes_untold_is_refused(stack: Stack) -> None:
    """Deleted by hand in the database: nobody announced anything."""
    key_id, key = make_key(stack)
    assert status(stack, key) == 200
    url = resolve_endpoints(engine_settings(stack.data_dir)).postgres.url.reveal()

    async def delete() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("DELETE FROM api_keys WHERE id = $1", key_id)
        await connection.close()

    asyncio.run(delete())
    is_refused(stack, key, how="hand")


def test_both_keys_work_during_an_overlap(stack: Stack) -> None:
    key_id, key = make_key(stack)
    rotated = pug("key", "rotate", key_id, "--overlap", "1h", "--json", data_dir=stack.data_dir)
    fresh = json.loads(rotated.stdout)["key"]
    assert (status(stack, key), status(stack, fresh)) == (200, 200)
    rotated = pug("key", "rotate", key_id, "--overlap", "0s", "--json", data_dir=stack.data_dir)
    is_refused(stack, key, how="rotate")
    assert status(stack, fresh) == 200
