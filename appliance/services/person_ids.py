"""Everything that names one person: profile ids, the external id, aliases [profiles 9].

Invariant: what an erasure takes away and what an access request shows is found here, by the same
rule, so neither knows more of a person than the other.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from appliance.domain.insights.filters import AllOf, Condition
from appliance.domain.people.erasure import unite_ids
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.erasure import (
    find_aliases,
    find_canonical,
    find_profiles_by_external,
)
from appliance.storage.postgres.erasure import find_live_profile, find_profiles_of
from appliance.storage.postgres.pool import Postgres

EVERYTHING: Final[Condition] = AllOf(())


class NamedPerson(Struct, frozen=True, kw_only=True):
    """Who is meant by an id: one of the two may be empty."""

    profile_id: str
    external_id: str


async def find_named_person(
    database: Postgres, events: ClickHouse, project_id: str, id_: str
) -> NamedPerson:
    """Whose id this is: a profile's, an alias, an external id; else it stands for itself."""
    profile = await find_live_profile(database, project_id, profile_id=id_)
    if profile is None:
        owner = await find_canonical(events, project_id, id_)
        profile = await find_live_profile(database, project_id, profile_id=owner)
    if profile is None:
        profile = await find_live_profile(database, project_id, external_id=id_)
    if profile is None:
        return NamedPerson(profile_id=id_, external_id=id_)
    return NamedPerson(profile_id=profile.id, external_id=profile.external_id)


async def resolve_person(
    database: Postgres,
    events: ClickHouse,
    project_id: str,
    *,
    profile_id: str,
    external_id: str,
    known: Sequence[str] = (),
) -> tuple[str, ...]:
    """Every id of a person, also those of deleted profiles and those already `known`.

    Also an alias that moved to somebody else: its history holds the person's too.
    """
    named = unite_ids((external_id, profile_id), known)
    profiles = unite_ids(
        await find_profiles_of(database, project_id, named, external_id),
        await find_profiles_by_external(events, project_id, external_id),
    )
    owners = unite_ids((profile_id,), profiles)
    return unite_ids(named, profiles, await find_aliases(events, project_id, owners))
