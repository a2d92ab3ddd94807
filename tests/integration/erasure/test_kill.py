"""`kill -9` before every single step of an erasure: the next attempt ends at the same place."""

import itertools

import pytest

from appliance.base.clock import SystemClock
from appliance.config.model import Settings
from appliance.domain.delivery import Disposition
from appliance.domain.people.erasure import ErasureStatus
from appliance.storage.streams.deadletters import Origin
from appliance.storage.streams.publish import EVENTS_SUBJECT
from tests.support.erasing_child import kill_before
from tests.support.erasure_stage import PERSON_TABLES, ErasureStage, session_of
from tests.support.pipeline import encode

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

STEPS_MAX = 60
NUMBERS = itertools.count(2000)


async def leave_traces(stage: ErasureStage) -> str:
    """A person everywhere, somebody else beside them, and a request."""
    await stage.add_profile("P1", "e1")
    await stage.add_alias("anon-a", "P1", "e1")
    await stage.add_profile("P2", "e2")
    await stage.add_events([("e1", "s1"), ("anon-a", "s2"), ("other", "s3")])
    theirs, others = stage.rows([("e1", "s1")]), stage.rows([("other", "s3")])
    for rows in (theirs, [*theirs, *others]):
        number = next(NUMBERS)  # the queue takes a letter of one origin once
        await stage.pipeline.dead_letters.keep(
            encode(rows),
            {},
            origin=Origin(
                subject=EVENTS_SUBJECT, stream="events", consumer="c", sequence=number, deliveries=1
            ),
            reason="poison",
            disposition=Disposition.PERMANENT,
            now=SystemClock().now(),
            extra={},
        )
    return await stage.request(profile_id="P1", external_id="e1")


async def is_clean(stage: ErasureStage, request: str) -> None:
    """Nothing of the person is left, everything of the others is, and the ledger says so."""
    view = await stage.view(request)
    assert view is not None
    assert view.status is ErasureStatus.COMPLETED
    assert view.distinct_ids == ("e1", "P1", "anon-a")
    assert view.events_affected == 2
    assert view.receipt is not None
    assert view.receipt.remaining.total == 0
    wanted = {"events": ["other"], "distinct_id_activity_states": ["other"], "profiles": ["P2"]}
    for table in PERSON_TABLES:
        assert await stage.distinct_ids(table) == wanted.get(table, []), table
    assert await stage.sessions() == {session_of("s3")}
    for table, key in (("profiles", "id"), ("profile_devices", "profile_id")):
        rows = await stage.database.rows(f"SELECT {key} AS id FROM {table}")  # type: ignore[arg-type] names of ours
        assert [row["id"] for row in rows] == ["P2"], table
    letters = await stage.messages("dlq-events")
    assert letters
    assert all(b'"other"' in one and b'"e1"' not in one for one in letters)
    entries = {one.request_id: one for one in await stage.journal.entries()}
    assert entries[request].completed


def dies_before(stage: ErasureStage, engines: Settings, request: str, step: int) -> bool:
    endpoints = stage.jobs.endpoints
    return kill_before(endpoints, engines.data_dir, stage.journal_folder, request, step)


async def start_over(stage: ErasureStage) -> None:
    for table in ("compliance_requests", "profile_devices", "profiles"):
        await stage.database.execute(f"DELETE FROM {table}")
    for table in (*PERSON_TABLES, "dashboard_session_rollup"):
        await stage.events.command("TRUNCATE TABLE {t:Identifier}", {"t": table})
    jetstream = await stage.jobs.streams.jetstream()
    await jetstream.purge_stream("dlq-events")


async def test_killed_before_every_step(stage: ErasureStage, engines: Settings) -> None:
    steps = 0
    for step in range(1, STEPS_MAX):
        request = await leave_traces(stage)
        killed = dies_before(stage, engines, request, step)
        view = await stage.view(request)
        assert view is not None
        assert (view.status is ErasureStatus.COMPLETED) is not killed
        await stage.eraser().erase(request)
        await is_clean(stage, request)
        if not killed:
            break
        steps += 1
        await start_over(stage)
    print(f"killed before each of {steps} steps")
    assert 15 <= steps < STEPS_MAX - 1


async def test_control_without_frozen_ids_something_stays(
    stage: ErasureStage, engines: Settings
) -> None:
    """Control: a worker that looks again after a kill finds no events, so no sessions."""
    left: set[str] = set()
    for step in range(1, STEPS_MAX):
        request = await leave_traces(stage)
        if not dies_before(stage, engines, request, step):
            break
        await stage.database.execute(
            "UPDATE compliance_requests SET distinct_ids = NULL, session_ids = NULL WHERE id = $1",
            request,
        )
        await stage.events.command(
            "INSERT INTO dashboard_session_rollup (project_id, session_id, scope)"
            " SELECT {p:String}, {s:UUID}, ''",
            {"p": stage.project, "s": session_of("s1")},
        )
        await stage.eraser().erase(request)
        if session_of("s1") in await stage.sessions():
            left.add("sessions")
            break
        await start_over(stage)
    assert left == {"sessions"}
