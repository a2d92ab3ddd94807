"""Reading persons: by id, by external id, all of them [profiles 4].

Invariant: answers come from the event store alone, so they follow identify by moments; a project
sees its own persons only.
"""

from collections.abc import AsyncGenerator
from typing import Final

from msgspec import Struct

from appliance.base.errors import NotFoundError, Resource
from appliance.domain.cursors import Cursor, decode_person_cursor, encode_person_cursor
from appliance.domain.people.filters import plan_person_filters
from appliance.domain.people.person import Person
from appliance.gen.shared.profiles.v1.profiles_pb import ListRequest
from appliance.storage.clickhouse.people_read import PeopleReader

PAGE_PERSONS: Final = 100
"""Persons of one message [profiles 4.4]."""

KEYS_AHEAD: Final = 10_000
"""Ids read at once: a list of a million persons is ordered a hundred times, not ten thousand."""


class Page(Struct, frozen=True, kw_only=True):
    """Some persons, and the token of what comes after them, empty at the end."""

    persons: tuple[Person, ...]
    next_token: str = ""


class PeopleService:
    """`shared.profiles.v1` without the wire around it, and without erasure."""

    def __init__(self, reader: PeopleReader) -> None:
        self._reader = reader

    async def get(self, project_id: str, person_id: str) -> Person:
        """The person with this id, or the one an alias belongs to; one hop only [profiles 4.2].

        Raises NotFoundError (`PROFILE_NOT_FOUND`), UnavailableError.
        """
        if person_id:
            found = await self._load(project_id, person_id)
            if found is None:
                owner = await self._reader.owner(project_id, person_id)
                found = await self._identified(project_id, owner)
            if found is not None:
                return found
        raise _not_found(person_id)

    async def get_by_external_id(self, project_id: str, external_id: str) -> Person:
        """The identified person with this external id, the last changed of several.

        Raises NotFoundError (`PROFILE_NOT_FOUND`), UnavailableError.
        """
        owner = await self._reader.find_external(project_id, external_id) if external_id else None
        found = await self._identified(project_id, owner)
        if found is None:
            raise _not_found(external_id)
        return found

    async def list(self, project_id: str, request: ListRequest) -> AsyncGenerator[Page]:
        """All matching persons, newest first, a hundred a page [profiles 4.4].

        Raises InvalidInputError (`INVALID_PAGE_TOKEN`, `INVALID_PROFILE_FILTER`), UnavailableError.
        """
        after = decode_person_cursor(request.page_token)
        condition = plan_person_filters(request)
        keys: list[Cursor] = []
        is_end = False
        while True:
            if len(keys) <= PAGE_PERSONS and not is_end:
                last = keys[-1] if keys else after
                more = await self._reader.list_keys(project_id, condition, last, limit=KEYS_AHEAD)
                is_end = len(more) < KEYS_AHEAD
                keys.extend(more)
            shown, keys = keys[:PAGE_PERSONS], keys[PAGE_PERSONS:]
            if not shown:
                return
            found = await self._reader.load(project_id, [each.id for each in shown])
            persons = tuple(found[each.id] for each in shown if each.id in found)
            token = encode_person_cursor(shown[-1]) if keys else ""
            if persons:
                yield Page(persons=persons, next_token=token)

    async def _load(self, project_id: str, person_id: str) -> Person | None:
        return (await self._reader.load(project_id, [person_id])).get(person_id)

    async def _identified(self, project_id: str, profile_id: str | None) -> Person | None:
        """The person of a profile; what an alias or external id leads to is never anonymous."""
        if profile_id is None:
            return None
        return await self._load(project_id, profile_id)


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        "PROFILE_NOT_FOUND",
        "this person is not known",
        resource=Resource(kind="profile", name=name),
    )
