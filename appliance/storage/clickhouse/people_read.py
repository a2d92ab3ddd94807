"""Persons from the event store: identified profiles, and whoever else has events [profiles 4].

Invariant: nothing is read before it is reduced to its latest version, because merges are lazy; and
a distinct id that is claimed (an alias, or the id or external id of any profile, deleted or not)
is never a person of its own. A list is walked in two steps, ids in order and then the persons of
some ids, so that memory is bounded by what is shown at once.
"""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, cast

from appliance.domain.cursors import Cursor
from appliance.domain.insights.dimensions import (
    ProfileProperty,
    PromotedProperty,
    Property,
)
from appliance.domain.insights.filters import Condition, PersonTest
from appliance.domain.people.filters import ACTIVITY_TEXTS, reads_activity
from appliance.domain.people.person import Activity, Identity, Person
from appliance.storage.clickhouse.ask import ask
from appliance.storage.clickhouse.client import ClickHouse, Row
from appliance.storage.clickhouse.columns import NO_NUMBER
from appliance.storage.clickhouse.fragment import (
    Fragment,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
    texts_value,
)
from appliance.storage.clickhouse.insights.conditions import compile_condition
from appliance.storage.clickhouse.insights.settings import INSIGHT
from appliance.storage.clickhouse.traits import trait_number, trait_text

_LATEST: Final[LiteralString] = r"splitByChar('\0', substring(max(latest), 25))"
"""The values of the latest event, out of the text in migration 0004."""

SUMMARY: Final[LiteralString] = """
    toUnixTimestamp64Milli(min(first_time)) AS first_ms,
    toUnixTimestamp64Milli(max(last_time)) AS last_ms,
    toInt64(sum(event_count)) AS events,
    toInt64(sum(page_view_count)) AS page_views,
    toInt64(uniqMerge(sessions)) AS session_count,
    <latest> AS texts""".replace("<latest>", _LATEST)

_OWNERS: Final = """
SELECT alias_id, argMax(profile_id, version) AS owner
FROM profile_aliases
WHERE project_id = <project> <only>
GROUP BY alias_id"""

_LIST: Final = """
WITH
    people AS (
        SELECT id, external_id, deleted, create_time, properties
        FROM profiles FINAL WHERE project_id = <project>
    ),
    owners AS (<owners>),
    claimed AS (
        SELECT id FROM people
        UNION ALL SELECT external_id FROM people WHERE external_id != ''
        UNION ALL SELECT alias_id FROM owners
    )
SELECT id, created
FROM
(
    SELECT id, toUnixTimestamp64Micro(create_time) AS created, properties, <texts> AS texts
    FROM people <summaries>
    WHERE NOT deleted
    UNION ALL
    SELECT
        distinct_id AS id,
        toUnixTimestamp64Milli(min(first_time)) * 1000 AS created,
        '{}' AS properties,
        <own_texts> AS texts
    FROM distinct_id_activity_states
    WHERE project_id = <project_again> AND distinct_id != '' AND distinct_id NOT IN claimed
    GROUP BY distinct_id
)
WHERE <filters> AND <after>
ORDER BY created DESC, id DESC
LIMIT <limit>
"""

_SUMMARIES: Final = """
    LEFT JOIN (
        SELECT person, <latest> AS person_texts
        FROM distinct_id_activity_states AS states
        INNER JOIN (
            SELECT DISTINCT person, distinct_id FROM (
                SELECT id AS person, arrayJoin([id, external_id]) AS distinct_id
                FROM people WHERE NOT deleted
                UNION ALL SELECT owner AS person, alias_id AS distinct_id FROM owners
            ) WHERE distinct_id != ''
        ) AS members ON members.distinct_id = states.distinct_id
        WHERE states.project_id = <project>
        GROUP BY person
    ) AS summaries ON summaries.person = people.id"""

_PROFILES: Final = """
SELECT
    id, external_id, properties,
    toUnixTimestamp64Micro(create_time), toUnixTimestamp64Micro(update_time)
FROM profiles FINAL
WHERE project_id = <project> AND id IN <ids> AND NOT deleted
"""

_CLAIMED: Final = """
SELECT id FROM profiles WHERE project_id = <project> AND id IN <ids>
UNION DISTINCT
SELECT external_id FROM profiles FINAL WHERE project_id = <project_b> AND external_id IN <ids_b>
UNION DISTINCT
SELECT alias_id FROM profile_aliases WHERE project_id = <project_c> AND alias_id IN <ids_c>
"""

_ACTIVITY: Final = """
WITH
    owners AS (<owners>),
    members AS (
        SELECT DISTINCT person, distinct_id FROM (
            SELECT id AS person, arrayJoin([id, external_id]) AS distinct_id
            FROM profiles FINAL WHERE project_id = <project> AND id IN <ids> AND NOT deleted
            UNION ALL SELECT owner AS person, alias_id AS distinct_id FROM owners
            UNION ALL SELECT arrayJoin(<unclaimed>) AS person, person AS distinct_id
        ) WHERE distinct_id != ''
    )
SELECT person, <summary>
FROM distinct_id_activity_states AS states
INNER JOIN members ON members.distinct_id = states.distinct_id
WHERE states.project_id = <project_b>
  AND states.distinct_id IN (SELECT distinct_id FROM members)
GROUP BY person
"""

_BY_EXTERNAL_ID: Final = """
SELECT id FROM profiles FINAL
WHERE project_id = <project> AND NOT deleted AND external_id = <external_id> AND id IN (
    SELECT id FROM profiles WHERE project_id = <project_b> AND external_id = <external_id_b>
)
ORDER BY update_time DESC, id DESC
LIMIT 1
"""

_OF_OWNERS: Final = """AND alias_id IN (
    SELECT alias_id FROM profile_aliases WHERE project_id = <project> AND profile_id IN <ids>
)"""


class PeopleReader:
    """The read side of persons; every answer is of one project."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def list_keys(
        self, project_id: str, condition: Condition, after: Cursor | None, *, limit: int
    ) -> Sequence[Cursor]:
        """The next persons in order of creation and id, newest first, that meet a condition."""
        reading = PersonReading()
        needs_texts = reads_activity(condition)
        project = text_value(project_id)
        statement = fill(
            _LIST,
            project=project,
            project_again=project,
            owners=fill(_OWNERS, project=project, only=literal("")),
            texts=literal("person_texts" if needs_texts else "emptyArrayString()"),
            own_texts=literal(_LATEST if needs_texts else "emptyArrayString()"),
            summaries=fill(_SUMMARIES, latest=literal(_LATEST), project=project)
            if needs_texts
            else literal(""),
            filters=compile_condition(condition, reading),
            after=_after(after),
            limit=integer_value(limit),
        )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return [Cursor(id=str(name), micros=cast("int", created)) for name, created in rows]

    async def load(self, project_id: str, ids: Sequence[str]) -> Mapping[str, Person]:
        """The persons with exactly these ids, with what they did; others are left out."""
        asked = [each for each in ids if each]
        if not asked:
            return {}
        slots = {"project": text_value(project_id), "ids": texts_value(asked)}
        profiles = {
            str(row[0]): row
            for row in await ask(self._clickhouse, finish(fill(_PROFILES, **slots), INSIGHT))
        }
        others = [each for each in asked if each not in profiles]
        unclaimed = await self._unclaimed(project_id, others)
        activity = await self._activity(project_id, list(profiles), unclaimed)
        found = {
            name: _identified(project_id, row, activity.get(name)) for name, row in profiles.items()
        }
        return found | {
            name: _anonymous(project_id, name, activity[name])
            for name in unclaimed
            if name in activity
        }

    async def owner(self, project_id: str, alias_id: str) -> str | None:
        """The profile an alias belongs to now; None for what is no alias."""
        statement = fill(
            _OWNERS,
            project=text_value(project_id),
            only=fill("AND alias_id = <alias>", alias=text_value(alias_id)),
        )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return str(rows[0][1]) if rows else None

    async def find_external(self, project_id: str, external_id: str) -> str | None:
        """The id of the profile with this external id that was changed last [profiles 4.3]."""
        project, external = text_value(project_id), text_value(external_id)
        statement = fill(
            _BY_EXTERNAL_ID,
            project=project,
            project_b=project,
            external_id=external,
            external_id_b=external,
        )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return str(rows[0][0]) if rows else None

    async def profile(self, project_id: str, profile_id: str) -> Person | None:
        """The profile with exactly this id, without what it did; None for none."""
        statement = fill(_PROFILES, project=text_value(project_id), ids=texts_value([profile_id]))
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return _identified(project_id, rows[0], None) if rows else None

    async def identity(self, project_id: str, any_id: str) -> Identity:
        """Whose id this is: of a profile, else an alias, else an external id, else of nobody else
        [dashboards 11.1].
        """
        found = await self.profile(project_id, any_id)
        person_id = any_id
        if found is None:
            person_id = (
                await self.owner(project_id, any_id)
                or await self.find_external(project_id, any_id)
                or any_id
            )
            if person_id != any_id:
                found = await self.profile(project_id, person_id)
        external_id = found.external_id if found is not None else ""
        return Identity(person_id=person_id, external_id=external_id)

    async def _unclaimed(self, project_id: str, ids: Sequence[str]) -> Sequence[str]:
        if not ids:
            return ()
        project, asked = text_value(project_id), texts_value(ids)
        statement = fill(
            _CLAIMED,
            project=project,
            project_b=project,
            project_c=project,
            ids=asked,
            ids_b=asked,
            ids_c=asked,
        )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        claimed = {str(row[0]) for row in rows}
        return [each for each in ids if each not in claimed]

    async def _activity(
        self, project_id: str, profiles: Sequence[str], unclaimed: Sequence[str]
    ) -> Mapping[str, Activity]:
        if not profiles and not unclaimed:
            return {}
        project, ids = text_value(project_id), texts_value(profiles)
        statement = fill(
            _ACTIVITY,
            owners=fill(
                "SELECT alias_id, owner FROM (<owners>) WHERE owner IN <ids>",
                owners=fill(
                    _OWNERS, project=project, only=fill(_OF_OWNERS, project=project, ids=ids)
                ),
                ids=ids,
            ),
            project=project,
            project_b=project,
            ids=ids,
            unclaimed=texts_value(unclaimed),
            summary=literal(SUMMARY),
        )
        rows = await ask(self._clickhouse, finish(statement, INSIGHT))
        return {str(row[0]): read_activity(row[1:]) for row in rows}


def compile_identity(project_id: str, identity: Identity) -> Fragment:
    """The ids of a person as a list for `IN`: its own, and every alias it has now."""
    owners = fill(
        _OWNERS,
        project=text_value(project_id),
        only=fill(
            _OF_OWNERS, project=text_value(project_id), ids=texts_value([identity.person_id])
        ),
    )
    return fill(
        "(SELECT arrayJoin(<ids>) UNION ALL SELECT alias_id FROM (<owners>) WHERE owner = <id>)",
        ids=texts_value(identity.own_ids),
        owners=owners,
        id=text_value(identity.person_id),
    )


class PersonReading:
    """Rows with `properties`, the JSON text of a profile, and `texts`, those of its last event."""

    def text(self, subject: Property) -> Fragment:
        """The text form [insights 4.2, 5.4]; lists and objects are their JSON text."""
        if isinstance(subject, PromotedProperty):
            place = ACTIVITY_TEXTS.index(subject.promoted) + 1
            return fill("texts[<place>]", place=integer_value(place))
        return trait_text(_path(subject))

    def number(self, subject: Property) -> Fragment:
        """The numeric form: a number, or a text that is one; never a boolean."""
        if isinstance(subject, PromotedProperty):
            return NO_NUMBER
        return trait_number(_path(subject))

    def place(self, test: Fragment, subject: Property) -> Fragment:  # noqa: ARG002 all are of the row
        """The test itself: everything it reads is in the row."""
        return test

    def members(self, test: PersonTest) -> Fragment:
        """Never asked: lists of persons have no filter on cohorts."""
        raise AssertionError(f"a list of persons is not filtered by cohorts: {test}")


def _path(subject: Property) -> tuple[str, ...]:
    assert isinstance(subject, ProfileProperty), "persons have no properties of events"
    return subject.path


def _after(cursor: Cursor | None) -> Fragment:
    if cursor is None:
        return literal("true")
    return fill(
        "(created, id) < (<created>, <id>)",
        created=integer_value(cursor.micros),
        id=text_value(cursor.id),
    )


def _identified(project_id: str, row: Row, activity: Activity | None) -> Person:
    name, external_id, properties, created, updated = row
    return Person(
        project_id=project_id,
        id=str(name),
        is_identified=True,
        external_id=str(external_id),
        properties=str(properties),
        created_us=cast("int", created),
        updated_us=cast("int", updated),
        activity=activity,
    )


def _anonymous(project_id: str, name: str, activity: Activity) -> Person:
    return Person(
        project_id=project_id,
        id=name,
        created_us=activity.first_ms * 1000,
        updated_us=activity.last_ms * 1000,
        activity=activity,
    )


def read_activity(row: Row) -> Activity:
    """What a row of `SUMMARY` says."""
    first, last, events, page_views, sessions, texts = row
    browser, browser_version, os, os_version, device, country, region, city = cast(
        "Sequence[str]", texts
    )
    return Activity(
        first_ms=cast("int", first),
        last_ms=cast("int", last),
        events=cast("int", events),
        page_views=cast("int", page_views),
        sessions=cast("int", sessions),
        browser=browser,
        browser_version=browser_version,
        os=os,
        os_version=os_version,
        device=device,
        country=country,
        region=region,
        city=city,
    )
