"""Events go after their days, and every roll-up goes on counting what is there."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from appliance.base.errors import ConflictError, DamagedError, UnavailableError
from appliance.base.tasks import poll
from appliance.services.jobs import retention
from appliance.services.jobs.purge import purge_projects
from appliance.services.jobs.retention import end_of_month, enforce_retention, is_over
from appliance.storage.clickhouse.client import Row
from appliance.storage.clickhouse.retention import (
    Month,
    list_masked_months,
    list_months,
    load_tally,
    look_for_expired,
    renew_rollups,
    require_no_other,
)
from tests.support.jobs import JobStage
from tests.support.pipeline import make_events

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SESSIONS_RAW = """
SELECT toString(session_id), min(occur_time), max(occur_time), count(),
    argMin(concat(country, browser), (occur_time, event_id)),
    argMax(concat(country, browser), (occur_time, event_id))
FROM events WHERE project_id = {p:String} GROUP BY session_id ORDER BY 1
"""
SESSIONS_ROLLED = """
WITH
    splitByChar('\\0', substring(min(entry), 25)) AS first,
    splitByChar('\\0', substring(max(exit), 25)) AS last
SELECT toString(session_id), min(start_time), max(end_time), sum(event_count),
    concat(first[1], first[4]), concat(last[1], last[4])
FROM dashboard_session_rollup WHERE project_id = {p:String} AND scope = ''
GROUP BY session_id ORDER BY 1
"""
SCOPES_RAW = """
SELECT kind, toString(session_id), count(), min(occur_time) FROM events
WHERE project_id = {p:String} GROUP BY 1, 2 ORDER BY 1, 2
"""
SCOPES_ROLLED = """
SELECT toString(scope), toString(session_id), sum(event_count), min(start_time)
FROM dashboard_session_rollup WHERE project_id = {p:String} AND scope != ''
GROUP BY 1, 2 ORDER BY 1, 2
"""
PEOPLE_RAW = """
SELECT distinct_id, min(occur_time), max(occur_time), count(), countIf(kind = 'page_view'),
    uniq(session_id), argMax(country, (occur_time, event_id))
FROM events WHERE project_id = {p:String} AND NOT startsWith(distinct_id, 'cookieless-')
GROUP BY distinct_id ORDER BY 1
"""
PEOPLE_ROLLED = """
SELECT distinct_id, min(first_time), max(last_time), sum(event_count), sum(page_view_count),
    uniqMerge(sessions), splitByChar('\\0', substring(max(latest), 25))[6]
FROM distinct_id_activity_states WHERE project_id = {p:String} GROUP BY distinct_id ORDER BY 1
"""
DAYS_RAW = """
SELECT kind, toDate32(occur_time), toString(country), count(), uniq(distinct_id) FROM events
WHERE project_id = {p:String} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
DAYS_ROLLED = """
SELECT toString(kind), day, toString(value), sum(event_count), uniqMerge(visitors)
FROM dashboard_event_rollup_daily WHERE project_id = {p:String} AND dimension = '$country'
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
NAMES_RAW = """
SELECT toString(kind), count(), max(occur_time) FROM events WHERE project_id = {p:String}
GROUP BY 1 ORDER BY 1
"""
NAMES_ROLLED = """
SELECT toString(kind), sum(event_count), max(last_time) FROM event_names
WHERE project_id = {p:String} GROUP BY 1 ORDER BY 1
"""
KEYS_RAW = """
SELECT arrayJoin(mapKeys(custom_properties)) AS key, count(), max(occur_time) FROM events
WHERE project_id = {p:String} GROUP BY key ORDER BY 1
"""
KEYS_ROLLED = """
SELECT key, sum(event_count), max(last_time) FROM property_keys_event_buckets
WHERE project_id = {p:String} GROUP BY key ORDER BY 1
"""
PAIRS = (
    (SESSIONS_RAW, SESSIONS_ROLLED),
    (SCOPES_RAW, SCOPES_ROLLED),
    (PEOPLE_RAW, PEOPLE_ROLLED),
    (DAYS_RAW, DAYS_ROLLED),
    (NAMES_RAW, NAMES_ROLLED),
    (KEYS_RAW, KEYS_ROLLED),
)
NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)


def events_of(
    project: str, *, seed: int, number: int = 400, days: int = 100
) -> list[dict[str, object]]:
    """Events of the last days before NOW; sessions and people live on both sides of any cutoff."""
    chance = random.Random(seed)
    rows = make_events(number, seed=seed, project=project)
    for row in rows:
        at = NOW - timedelta(days=chance.uniform(0, days))
        row["occur_time"] = at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        row["browser"] = chance.choice(("Firefox", "Safari", ""))
        row["insert_block"] = chance.choice((0, 5, 7))
        if chance.random() < 0.2:
            row["distinct_id"] = f"cookieless-{chance.randrange(5)}"
    return rows


async def ask(stage: JobStage, question: str, project: str) -> Sequence[Row]:
    return await stage.events.rows(question, {"p": project})  # pyright: ignore[reportArgumentType] literals of this file


async def agree(stage: JobStage, project: str) -> None:
    """Every roll-up says in every column what the raw events say."""
    for raw, rolled in PAIRS:
        assert await ask(stage, rolled, project) == await ask(stage, raw, project)
    assert (await load_tally(stage.events, project)).agrees


async def oldest(stage: JobStage, project: str) -> datetime:
    rows = await ask(
        stage, "SELECT min(occur_time) FROM events WHERE project_id = {p:String}", project
    )
    assert isinstance(rows[0][0], datetime)
    return rows[0][0].replace(tzinfo=UTC)


@pytest.mark.parametrize("subjects_max", [3, 500_000])
async def test_rollups_count_what_is_there(full_stage: JobStage, subjects_max: int) -> None:
    """After a cutoff every roll-up equals the raw events, in one pass or in many; another project
    keeps everything."""
    stage = full_stage
    await stage.insert(events_of("p1", seed=1) + events_of("p2", seed=2))
    for project in ("p1", "p2"):
        await agree(stage, project)
    before = {one: await load_tally(stage.events, one) for one in ("p1", "p2")}
    cutoff = datetime(2026, 4, 10, tzinfo=UTC)
    found = await look_for_expired(stage.events, "p1", cutoff)
    assert 0 < found.events < before["p1"].events
    await renew_rollups(stage.events, "p1", cutoff, found, subjects_max=subjects_max)
    assert (await load_tally(stage.events, "p1")).daily == before["p1"].events - found.events
    await retention.drop_events(stage.events, "p1", cutoff)
    for project in ("p1", "p2"):
        await agree(stage, project)
    assert (await load_tally(stage.events, "p1")).events == before["p1"].events - found.events
    assert await load_tally(stage.events, "p2") == before["p2"]


async def test_job(full_stage: JobStage) -> None:
    """Each project keeps its days, one without a limit all; a second run has nothing to do."""
    stage = full_stage
    org = await stage.make_org()
    short, long, endless = [
        await stage.make_project(org, name, days=days)
        for name, days in (("short", 10), ("long", 60), ("endless", None))
    ]
    for number, project in enumerate((short, long, endless)):
        await stage.insert(events_of(project, seed=number))
    before = await load_tally(stage.events, endless)
    desk = stage.desk(await stage.leading())
    assert (await enforce_retention(desk)).endswith("of 2 projects, 0 months dropped, 2 rewritten")
    assert stage.rests == 1
    for project, days in ((short, 10), (long, 60)):
        cutoff = datetime(2026, 5, 10, tzinfo=UTC) - timedelta(days=days)
        assert cutoff <= await oldest(stage, project) < cutoff + timedelta(days=9)
    for project in (short, long, endless):
        await agree(stage, project)
    assert await load_tally(stage.events, endless) == before
    assert await enforce_retention(desk) == "nothing to take away, 2 projects with a limit"
    assert stage.rests == 1


async def test_months_are_dropped(full_stage: JobStage) -> None:
    """A month in which nobody keeps anything goes as a whole; a shared one is only thinned out, and
    written anew once all of it that can go has gone."""
    stage = full_stage
    org = await stage.make_org()
    first = await stage.make_project(org, "first", days=30)
    second = await stage.make_project(org, "second", days=45)
    await stage.insert(events_of(first, seed=1) + events_of(second, seed=2, days=60))
    assert [month.id for month in await list_months(stage.events)] == [
        *("202601", "202602", "202603", "202604", "202605"),
    ]
    desk = stage.desk(await stage.leading())
    assert "2 months dropped" in await enforce_retention(desk)
    assert [month.id for month in await list_months(stage.events)] == [
        *("202603", "202604", "202605"),
    ]
    for project in (first, second):
        await agree(stage, project)
    assert "202603" in await list_masked_months(stage.events)
    stage.clock.advance(30 * 86400)
    lead = await stage.leading()
    assert "1 months dropped" in await enforce_retention(stage.desk(lead))
    for project in (first, second):
        await agree(stage, project)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_killed_anywhere(full_stage: JobStage) -> None:
    """Whatever step a run was killed after, the next one ends with roll-ups that agree."""
    stage = full_stage
    org = await stage.make_org()
    project = await stage.make_project(org, days=30)

    class Killed(Exception):  # noqa: N818 what a kill looks like from inside
        pass

    steps = 0
    while True:
        await stage.insert(events_of(project, seed=steps + 10, number=120))
        lead = await stage.leading(f"killed-{steps}")
        left = steps
        command = stage.events.command

        async def counted(*arguments: object, command=command) -> None:  # pyright: ignore[reportMissingParameterType]
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            await command(*arguments)

        stage.events.command = counted  # pyright: ignore[reportAttributeAccessIssue] the seam of this test
        killed = False
        try:
            await enforce_retention(stage.desk(lead))
        except Killed:
            killed = True
        finally:
            stage.events.command = command
        await enforce_retention(stage.desk(lead))
        await agree(stage, project)
        assert await oldest(stage, project) >= datetime(2026, 4, 10, tzinfo=UTC)
        stage.clock.advance(21)
        if not killed:
            break
        steps += 1
    assert steps >= 9


async def test_disagreement_is_told(full_stage: JobStage) -> None:
    """A run that leaves a roll-up that does not agree fails and says where."""
    stage = full_stage
    project = await stage.make_project(await stage.make_org(), days=30)
    await stage.insert(events_of(project, seed=1))
    await stage.events.command(
        "INSERT INTO dashboard_event_rollup_daily (project_id, kind, dimension, day, event_count)"
        " SELECT {p:String}, 'x', '$__total__', toDate32('2026-05-09'), 1",
        {"p": project},
    )
    with pytest.raises(DamagedError, match=project):
        await enforce_retention(stage.desk(await stage.leading()))


async def test_statement_of_an_earlier_run(full_stage: JobStage) -> None:
    """While the server still works on a statement whose run was given up, no other run begins."""
    stage = full_stage
    project = await stage.make_project(await stage.make_org(), days=30)
    await stage.insert(events_of(project, seed=1))
    before = await load_tally(stage.events, project)
    desk = stage.desk(await stage.leading())
    slow = asyncio.ensure_future(
        stage.events.rows(
            "SELECT count() FROM numbers(20) WHERE sleepEachRow(0.5) = 0",
            settings={"log_comment": "pug-retention", "max_block_size": 1},
        )
    )

    async def refused() -> bool | None:
        try:
            await require_no_other(stage.events)
        except UnavailableError:
            return True
        return None

    assert await poll(refused, every_seconds=0.05, timeout_seconds=8)
    with pytest.raises(UnavailableError, match="earlier run"):
        await enforce_retention(desk)
    assert await load_tally(stage.events, project) == before
    await slow
    assert "of 1 projects" in await enforce_retention(desk)
    await agree(stage, project)


async def test_not_the_leader(full_stage: JobStage) -> None:
    """A leader that lost its lease deletes nothing."""
    stage = full_stage
    project = await stage.make_project(await stage.make_org(), days=30)
    await stage.insert(events_of(project, seed=1))
    before = await load_tally(stage.events, project)
    lead = await stage.leading("a")
    stage.clock.advance(21)
    await stage.leading("b")
    with pytest.raises(ConflictError):
        await enforce_retention(stage.desk(lead))
    assert await load_tally(stage.events, project) == before


async def test_deleted_projects(full_stage: JobStage) -> None:
    """Thirty days after its deletion a project goes with everything; until then nothing does."""
    stage = full_stage
    org = await stage.make_org()
    now = stage.clock.now()
    gone = await stage.make_project(org, "gone", deleted_at=now - timedelta(days=31))
    fresh = await stage.make_project(org, "fresh", deleted_at=now - timedelta(days=29))
    alive = await stage.make_project(org, "alive")
    for number, project in enumerate((gone, fresh, alive)):
        await stage.insert(events_of(project, seed=number))
    tallies = {one: await load_tally(stage.events, one) for one in (fresh, alive)}
    lead = await stage.leading()
    assert await purge_projects(stage.desk(lead)) == "purged 1 projects"
    assert (await load_tally(stage.events, gone)).events == 0
    for _, rolled in PAIRS:
        assert await ask(stage, rolled, gone) == []
    rows = await stage.database.rows("SELECT id FROM projects ORDER BY display_name")
    assert [row["id"] for row in rows] == [alive, fresh]
    for project, tally in tallies.items():
        assert await load_tally(stage.events, project) == tally
    entry = await stage.database.row("SELECT action, actor_kind, project_id FROM audit_entries")
    assert entry is not None
    assert tuple(entry.values()) == ("project.purge", "system", gone)
    assert await purge_projects(stage.desk(lead)) == "purged 0 projects"


def test_month_is_over() -> None:
    """Only when every project in it has a cutoff behind its newest event there."""
    at = datetime(2026, 3, 31, 23, tzinfo=UTC)
    month = Month(id="202603", newest={"a": at, "b": at})
    later, earlier = at + timedelta(hours=1), at
    assert is_over(month, {"a": later, "b": later})
    assert not is_over(month, {"a": later, "b": earlier})
    assert not is_over(month, {"a": later})
    assert end_of_month("202603") == datetime(2026, 4, 1, tzinfo=UTC)
    assert end_of_month("202612") == datetime(2027, 1, 1, tzinfo=UTC)
