"""Reading persons: by id, by external id, all of them [profiles 4].

Invariant: answers come from the event store alone, so they follow identify by moments; a project
sees its own persons only.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from appliance.base.errors import NotFoundError, Resource
from appliance.domain.cursors import Cursor, decode_person_cursor, encode_person_cursor
from appliance.domain.insights.filters import Condition
from appliance.domain.insights.weight import Weight
from appliance.domain.people.filters import plan_person_filters
from appliance.domain.people.person import Person
from appliance.gen.shared.profiles.v1.profiles_pb import ListRequest
from appliance.services.question_slots import QuestionSlots
from appliance.storage.clickhouse.people_read import PeopleReader

PAGE_PERSONS: Final = 100
"""Persons of one message [profiles 4.4]."""

KEYS_AHEAD: Final = 10_000
"""Ids read at once: a list of a million persons is ordered a hundred times, not ten thousand."""

LOADED_MAX: Final = 1000
"""Persons loaded at once, at most."""

LOADED_CHARACTERS: Final = 4 << 20
"""About how much text of properties may be in memory at once."""


class Page(Struct, frozen=True, kw_only=True):
    """Some persons, and the token of what comes after them, empty at the end."""

    persons: tuple[Person, ...]
    next_token: str = ""


class PeopleService:
    """`shared.profiles.v1` without the wire around it, and without erasure."""

    def __init__(self, reader: PeopleReader, *, slots: QuestionSlots | None = None) -> None:
        self._slots = slots or QuestionSlots()
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
        shown: list[Person] = []
        async with aclosing(self._walk(project_id, condition, after)) as persons:
            async for person in persons:
                if len(shown) == PAGE_PERSONS:
                    yield Page(persons=tuple(shown), next_token=_token(shown[-1]))
                    shown = []
                shown.append(person)
        if shown:
            yield Page(persons=tuple(shown))

    async def _walk(
        self, project_id: str, condition: Condition, after: Cursor | None
    ) -> AsyncGenerator[Person]:
        """Persons in order; how many are loaded at once follows from how large they are."""
        batch = PAGE_PERSONS
        while True:
            async with self._slots.held(project_id, Weight.HEAVY):
                keys = await self._reader.list_keys(project_id, condition, after, limit=KEYS_AHEAD)
            start = 0
            while start < len(keys):
                ids = [each.id for each in keys[start : start + batch]]
                start += batch
                found = await self._reader.load(project_id, ids)
                largest = max((len(one.properties) for one in found.values()), default=0)
                batch = max(PAGE_PERSONS, min(LOADED_MAX, LOADED_CHARACTERS // (largest + 1)))
                for name in ids:
                    if name in found:
                        yield found[name]
            if len(keys) < KEYS_AHEAD:
                return
            after = keys[-1]

    async def _load(self, project_id: str, person_id: str) -> Person | None:
        return (await self._reader.load(project_id, [person_id])).get(person_id)

    async def _identified(self, project_id: str, profile_id: str | None) -> Person | None:
        """The person of a profile; what an alias or external id leads to is never anonymous."""
        found = await self._load(project_id, profile_id) if profile_id is not None else None
        return found if found is not None and found.is_identified else None


def _token(last: Person) -> str:
    return encode_person_cursor(Cursor(micros=last.created_us, id=last.id))


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        "PROFILE_NOT_FOUND",
        "this person is not known",
        resource=Resource(kind="profile", name=name),
    )
