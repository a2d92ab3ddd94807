"""Groups of people as sets of distinct ids, for `distinct_id IN`, and as pages of persons.

Invariant: a person is decided over all of their ids at once: rows are gathered by id, ids by
person, and a person who fits brings every id they have (docs/decisions/0034). An id is that of the
live profile with this id, else of the owner of the alias, else of the live profile with this
external id, else its own person.
"""

from typing import Final

from appliance.domain.insights.spec import TimeRange
from appliance.storage.clickhouse.fragment import (
    Fragment,
    Statement,
    fill,
    finish,
    integer_value,
    literal,
    text_value,
    texts_table,
)
from appliance.storage.clickhouse.insights.settings import INSIGHT

_KNOWN: Final = """
SELECT known_as, argMin(profile, (place, profile)) AS person
FROM
(
    SELECT known_as, if(known_as = id, 0, 2) AS place, id AS profile
    FROM profiles FINAL
    ARRAY JOIN if(external_id = '', [id], [id, external_id]) AS known_as
    WHERE project_id = <project> AND NOT deleted
    UNION ALL
    SELECT alias_id AS known_as, 1 AS place, owner AS profile
    FROM
    (
        SELECT alias_id, argMax(profile_id, version) AS owner
        FROM profile_aliases WHERE project_id = <project> GROUP BY alias_id
    )
    WHERE owner IN (
        SELECT id FROM profiles FINAL WHERE project_id = <project> AND NOT deleted
    )
)
GROUP BY known_as
"""

_MEMBERS: Final = """
SELECT arrayJoin(groupArray(own_id))
FROM
(
    SELECT
        if(known.known_as = '', did.who, known.known_as) AS own_id,
        if(known.person = '', own_id, known.person) AS person,
        did.times AS times, did.first_ms AS first_ms
    FROM (<did>) AS did
    FULL JOIN (<known>) AS known ON did.who = known.known_as
)
GROUP BY person
HAVING <fits>
"""

_DEEDS: Final = """
SELECT distinct_id AS who, count() AS times, min(toUnixTimestamp64Milli(occur_time)) AS first_ms
FROM events
WHERE project_id = <project> AND <window> AND NOT startsWith(distinct_id, 'cookieless-')
    AND <condition>
GROUP BY distinct_id
"""

_IDENTIFIED: Final = """
SELECT id AS who, 1 AS times, 0 AS first_ms FROM profiles FINAL
WHERE project_id = <project> AND NOT deleted AND external_id != '' AND <test>
"""

_LISTED: Final = "SELECT DISTINCT id AS who, 1 AS times, 0 AS first_ms FROM <listed>"

_EVERYBODY: Final = """
SELECT
    if(known.known_as = '', seen.who, known.known_as) AS distinct_id,
    if(known.person = '', distinct_id, known.person) AS person
FROM
(
    SELECT distinct_id AS who FROM distinct_id_activity_states
    WHERE project_id = <project> AND distinct_id != '' GROUP BY distinct_id
) AS seen
FULL JOIN (<known>) AS known ON seen.who = known.known_as
"""

_COUNT: Final = "SELECT toInt64(uniqExact(person)) FROM (<everybody>) WHERE <members>"

_PAGE: Final = """
SELECT person FROM (<everybody>)
WHERE person > <after> AND <members>
GROUP BY person
ORDER BY person ASC
LIMIT <limit>
"""


def members_by_deeds(
    project_id: str,
    condition: Fragment,
    window: TimeRange | None,
    *,
    times_min: int,
    times_max: int | None,
) -> Fragment:
    """The ids of people who had so many events that meet the condition, at least one."""
    fits = fill("sum(times) >= <least>", least=integer_value(times_min))
    if times_max is not None:
        fits = fill("<least> AND sum(times) <= <most>", least=fits, most=integer_value(times_max))
    return _members(project_id, _deeds(project_id, condition, window), fits)


def members_by_first_deed(project_id: str, condition: Fragment, window: TimeRange) -> Fragment:
    """The ids of people whose first event of all that meets the condition is in the window."""
    fits = fill(
        "sum(times) > 0 AND minIf(first_ms, times > 0) >= <start>"
        " AND minIf(first_ms, times > 0) < <end>",
        start=integer_value(window.start_ms),
        end=integer_value(window.end_ms),
    )
    return _members(project_id, _deeds(project_id, condition, None), fits)


def members_by_trait(project_id: str, test: Fragment) -> Fragment:
    """The ids of identified people whose profile passes; `test` is over a row of `profiles`."""
    identified = fill(_IDENTIFIED, project=text_value(project_id), test=test)
    return _members(project_id, identified, literal("sum(times) > 0"))


def members_by_list(project_id: str, ids: tuple[str, ...]) -> Fragment:
    """All ids of the people who have one of these."""
    listed = fill(_LISTED, listed=texts_table(ids))
    return _members(project_id, listed, literal("sum(times) > 0"))


def compile_people_count(project_id: str, members: Fragment) -> Statement:
    """The statement whose one value is how many people there are; `members` tests an id."""
    everybody = _everybody(project_id)
    return finish(fill(_COUNT, everybody=everybody, members=members), INSIGHT)


def compile_people_page(project_id: str, members: Fragment, *, after: str, limit: int) -> Statement:
    """The statement whose rows are persons, ascending: ids of profiles, or distinct ids."""
    return finish(
        fill(
            _PAGE,
            everybody=_everybody(project_id),
            members=members,
            after=text_value(after),
            limit=integer_value(limit),
        ),
        INSIGHT,
    )


def _members(project_id: str, did: Fragment, fits: Fragment) -> Fragment:
    return fill(_MEMBERS, did=did, known=_known(project_id), fits=fits)


def _known(project_id: str) -> Fragment:
    return fill(_KNOWN, project=text_value(project_id))


def _everybody(project_id: str) -> Fragment:
    return fill(_EVERYBODY, project=text_value(project_id), known=_known(project_id))


def _deeds(project_id: str, condition: Fragment, window: TimeRange | None) -> Fragment:
    span = literal("true")
    if window is not None:
        span = fill(
            "occur_time >= fromUnixTimestamp64Milli(<start>, 'UTC')"
            " AND occur_time < fromUnixTimestamp64Milli(<end>, 'UTC')",
            start=integer_value(window.start_ms),
            end=integer_value(window.end_ms),
        )
    return fill(_DEEDS, project=text_value(project_id), window=span, condition=condition)
