"""The read side of people in ClickHouse is written here [storage 3.6].

Invariant: rows are only added; the greatest version of a profile, or of an alias, is the current
one, so adding a row twice or late changes nothing. Reading stands in `people_read.py`.
"""

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from appliance.domain.people.messages import Alias, ProfileState
from appliance.storage.clickhouse.client import ClickHouse, Setting

_SETTINGS: Final[dict[str, Setting]] = {
    # a queue inside the engine would acknowledge before the rows are stored
    "async_insert": 0,
    "max_insert_threads": 1,
    "input_format_parallel_parsing": 0,
}
_TIME: Final = "%Y-%m-%d %H:%M:%S.%f"


class ProfileInserts:
    """Adds states of profiles and mappings of aliases."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store

    async def add_states(self, states: Sequence[ProfileState]) -> None:
        """Store these states; raises InvalidInputError when one cannot be stored, then none is."""
        await self._store.insert_ndjson("profiles", map(_state_row, states), _SETTINGS)

    async def add_aliases(self, aliases: Sequence[Alias]) -> None:
        """Store these mappings; raises InvalidInputError as above."""
        await self._store.insert_ndjson("profile_aliases", map(_alias_row, aliases), _SETTINGS)

    async def newest_version(self) -> int:
        """The greatest version of any profile, 0 without one."""
        answer = await self._store.rows("SELECT max(version) FROM profiles")
        return cast("int", answer[0][0])


def _state_row(state: ProfileState) -> bytes:
    row = {
        "project_id": state.project_id,
        "id": state.id,
        "external_id": state.external_id,
        "properties": msgspec.json.encode(state.properties).decode(),
        "deleted": state.deleted,
        "create_time": state.created_at.strftime(_TIME),
        "update_time": state.updated_at.strftime(_TIME),
        "version": state.version,
    }
    return msgspec.json.encode(row) + b"\n"


def _alias_row(alias: Alias) -> bytes:
    row = {
        "project_id": alias.project_id,
        "alias_id": alias.alias_id,
        "profile_id": alias.profile_id,
        "external_id": alias.external_id,
        "version": alias.version,
    }
    return msgspec.json.encode(row) + b"\n"
