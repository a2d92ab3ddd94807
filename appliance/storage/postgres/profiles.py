"""The write side of people in PostgreSQL: profiles and the devices linked to them [storage 1.4].

Invariant: every statement that changes a profile takes its version from one sequence under the
row's lock, so of two states of a profile the one committed later has the greater version
[profiles 2.4]. A soft-deleted profile is in no answer. What is merged into what is decided in
`domain/people/traits.py`, hiding a profile stands in `erasure.py`.
"""

from datetime import datetime
from typing import Final, cast

import msgspec
from msgspec import Struct

from appliance.domain.people.traits import Held, Orders, Properties
from appliance.storage.postgres.driver import Record
from appliance.storage.postgres.pool import Transaction


class StoredProfile(Struct, frozen=True, kw_only=True):
    """A profile that is not deleted, locked until the transaction ends."""

    id: str
    external_id: str
    held: Held
    created_at: datetime
    updated_at: datetime
    version: int


# Locks the profile that is there already, and touches it: its update time moves in any case.
_ENSURE: Final = """
INSERT INTO profiles (id, project_id, external_id, properties, property_orders, version)
VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, nextval('profile_versions'))
ON CONFLICT (project_id, external_id) WHERE delete_time IS NULL
DO UPDATE SET version = nextval('profile_versions')
RETURNING id, COALESCE(external_id, '') AS external_id, properties::text AS properties,
    property_orders::text AS orders, create_time AS created_at, update_time AS updated_at, version
"""
_SAVE: Final = """
UPDATE profiles SET properties = $3::jsonb, property_orders = $4::jsonb,
    version = nextval('profile_versions')
WHERE id = $1 AND project_id = $2
RETURNING id, COALESCE(external_id, '') AS external_id, properties::text AS properties,
    property_orders::text AS orders, create_time AS created_at, update_time AS updated_at, version
"""
_LOCK: Final = """
SELECT id, COALESCE(external_id, '') AS external_id, properties::text AS properties,
    property_orders::text AS orders, create_time AS created_at, update_time AS updated_at, version
FROM profiles WHERE id = $1 AND project_id = $2 AND delete_time IS NULL FOR UPDATE
"""
_VERSION: Final = "SELECT nextval('profile_versions') AS version"
_LINK: Final = """
UPDATE profile_devices SET profile_id = $3, link_order = $4
WHERE project_id = $1 AND device_id = $2 AND link_order <= $4
"""
_MOVE: Final = """
UPDATE profile_devices SET profile_id = $3 WHERE project_id = $1 AND profile_id = $2
"""


async def ensure_profile(
    transaction: Transaction, *, project_id: str, external_id: str, fresh_id: str, held: Held
) -> StoredProfile:
    """The profile of an external id; made with `fresh_id` and `held` when there is none.

    Raises NotFoundError when the project does not exist.
    """
    row = await transaction.row(
        _ENSURE, fresh_id, project_id, external_id, _json(held.properties), _json(held.orders)
    )
    assert row is not None
    return _profile(row)


async def save_held(
    transaction: Transaction, *, project_id: str, profile_id: str, held: Held
) -> StoredProfile:
    """Replace the properties of a locked profile."""
    row = await transaction.row(
        _SAVE, profile_id, project_id, _json(held.properties), _json(held.orders)
    )
    assert row is not None, "the caller has locked it"
    return _profile(row)


async def lock_profile(
    transaction: Transaction, *, project_id: str, profile_id: str
) -> StoredProfile | None:
    """A profile by its own id, which nobody else changes before the transaction ends."""
    row = await transaction.row(_LOCK, profile_id, project_id)
    return None if row is None else _profile(row)


async def take_version(transaction: Transaction) -> int:
    """A version greater than every one given before."""
    row = await transaction.row(_VERSION)
    assert row is not None
    return cast("int", row["version"])


async def link_device(
    transaction: Transaction, *, project_id: str, device_id: str, profile_id: str, at: int
) -> bool:
    """Give a device to a profile; False when it is unknown or a later call gave it away."""
    tag = await transaction.execute(_LINK, project_id, device_id, profile_id, at)
    return tag != "UPDATE 0"


async def move_devices(
    transaction: Transaction, *, project_id: str, from_id: str, to_id: str
) -> None:
    """Give all devices of a profile to another one."""
    await transaction.execute(_MOVE, project_id, from_id, to_id)


def _profile(row: Record) -> StoredProfile:
    return StoredProfile(
        id=cast("str", row["id"]),
        external_id=cast("str", row["external_id"]),
        held=Held(
            properties=cast("Properties", msgspec.json.decode(cast("str", row["properties"]))),
            orders=msgspec.json.decode(cast("str", row["orders"]), type=Orders),
        ),
        created_at=cast("datetime", row["created_at"]),
        updated_at=cast("datetime", row["updated_at"]),
        version=cast("int", row["version"]),
    )


def _json(value: Properties | Orders) -> str:
    return msgspec.json.encode(value).decode()
