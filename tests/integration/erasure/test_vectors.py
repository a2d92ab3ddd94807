"""The shared cases of erasures, on real stores [profiles 8, 9]."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from appliance.base.errors import ApplianceError, UnavailableError
from appliance.domain.delivery import is_permanent
from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.services import erasing
from appliance.storage.clickhouse import erasure as event_store
from appliance.workers.compliance import ComplianceWork
from tests.support.erasure_stage import OPERATOR, ErasureStage, session_of, sessions_of
from tests.support.vectors import cases_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
Case = dict[str, Any]


async def prepare(stage: ErasureStage, given: Case) -> None:
    for profile in given.get("profiles", ()):
        await stage.add_profile(
            profile["id"], profile.get("externalId", ""), deleted=profile.get("deleted", False)
        )
    for alias, owner, *_ in given.get("aliases", ()):
        await stage.add_alias(alias, owner)
    await stage.add_events((one, "s") for one in given.get("events", ()))
    for row in given.get("ledger", ()):
        await request_of(stage, row)
    for row in given.get("otherProjectLedger", ()):
        other = await stage.jobs.make_project(await stage.jobs.make_org(), "Other")
        await stage.request(external_id="e9", request_id=row["id"], project=other)


async def request_of(stage: ErasureStage, row: Case) -> str:
    return await stage.request(
        request_id=row.get("id", ""),
        profile_id=row.get("profileId") or "",
        external_id=row.get("externalId") or "",
        kind=row.get("kind", "erase"),
        status=row.get("status", "pending"),
        error=row.get("error"),
        distinct_ids=row.get("distinctIds"),
        session_ids=[session_of(one) for one in row["sessionIds"]] if "sessionIds" in row else None,
    )


async def ledger(stage: ErasureStage) -> list[Case]:
    return [
        dict(row)
        for row in await stage.database.rows(
            "SELECT id, profile_id, external_id, status, error, distinct_ids"
            " FROM compliance_requests WHERE project_id = $1 AND kind = 'erase'"
            " ORDER BY request_time, id",
            stage.project,
        )
    ]


def break_stores(monkeypatch: pytest.MonkeyPatch, stage: ErasureStage, given: Case) -> None:
    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("UNAVAILABLE", "it does not answer")

    if given.get("eventStore") == "down":
        monkeypatch.setattr(stage.events, "rows", away)
    if given.get("queue") == "down":
        monkeypatch.setattr("appliance.storage.streams.publish.Publisher.publish", away)


async def call(stage: ErasureStage, wanted: Case) -> Any:
    ((method, argument),) = wanted.items()
    match method:
        case "Delete":
            return await stage.service.delete_person(stage.project, argument, actor=OPERATOR)
        case "DeleteDataSubject":
            return await stage.service.delete_data_subject(stage.project, argument, actor=OPERATOR)
        case "GetDeletionRequest":
            return await stage.service.load(stage.project, argument)
        case _:
            raise AssertionError(method)


@pytest.mark.parametrize("case", cases_of("erasure_request"))
async def test_request(stage: ErasureStage, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case.get("given", {})
    await prepare(stage, given)
    before = {row["id"] for row in await ledger(stage)}
    break_stores(monkeypatch, stage, given)
    if "error" in case:
        with pytest.raises(ApplianceError) as refused:
            await call(stage, case["call"])
        assert case["error"] in {refused.value.reason, refused.value.code.value}
        if "ledger" not in case:
            assert {row["id"] for row in await ledger(stage)} == before
            return
    else:
        answer = await call(stage, case["call"])
        check_answer(case, answer, before)
        messages = [EraseMessage.from_binary(one) for one in await stage.messages("compliance")]
        assert [one.request_id for one in messages] == [answer.request_id]
    rows = await ledger(stage)
    assert len(rows) == case.get("ledgerRows", 1)
    check_row(rows[-1], case.get("ledger", {}))
    hidden = await stage.database.rows(
        "SELECT id FROM profiles WHERE project_id = $1 AND delete_time IS NOT NULL", stage.project
    )
    assert [row["id"] for row in hidden if row["id"] in case.get("softDeleted", ())] == case.get(
        "softDeleted", []
    )
    if "publish-fails" in case["id"]:
        monkeypatch.undo()
        again = await call(stage, case["call"])
        assert (again.request_id, len(await ledger(stage))) == (rows[-1]["id"], 1)


def check_answer(case: Case, answer: Any, before: set[str]) -> None:
    wanted = case.get("returns", {"status": "pending"})
    assert answer.status == wanted["status"]
    if "requestId" in wanted:
        assert answer.request_id == wanted["requestId"]
    if wanted.get("newRequest"):
        assert answer.request_id not in before


def check_row(row: Case, wanted: Case) -> None:
    names = {"profileId": "profile_id", "externalId": "external_id", "distinctIds": "distinct_ids"}
    for name, value in wanted.items():
        assert row[names.get(name, name)] == value, name


@pytest.mark.parametrize("case", cases_of("erasure_execute"))
async def test_execute(stage: ErasureStage, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for alias, owner, *_ in case.get("aliases", ()):
        await stage.add_alias(alias, owner)
    await stage.add_events([tuple(pair) for pair in case.get("events", ())])
    for word in case.get("sessionRollups", ()):
        await stage.add_events([("kept", word)])
        await stage.events.command(
            "ALTER TABLE events DELETE WHERE 1", settings={"mutations_sync": 2}
        )
    request = "0" * 20 if case["ledger"] is None else await request_of(stage, case["ledger"])
    if case.get("failure") == "event store":

        async def away(*_: object) -> AsyncGenerator[int]:
            raise UnavailableError("UNAVAILABLE", "it does not answer")
            yield 0

        monkeypatch.setattr(erasing, "delete_person", away)
    work = ComplianceWork(stage.eraser())
    payload = EraseMessage(project_id=stage.project, request_id=request).to_binary()
    disposition = await deliver(work, payload, case.get("delivery", 1))
    monkeypatch.undo()
    assert disposition == case.get("disposition", "ack")
    await check_outcome(stage, request, case)


async def deliver(work: ComplianceWork, payload: bytes, delivery: int) -> str:
    """One delivery as the frame of workers makes it."""
    try:
        await work.handle(payload)
    except ApplianceError as error:
        if is_permanent(error) or delivery == 5:
            await work.give_up(payload, error.message)
            return "dead-letter"
        return "retry"
    return "ack"


async def check_outcome(stage: ErasureStage, request: str, case: Case) -> None:
    row = await stage.database.row(
        "SELECT status, distinct_ids, session_ids, events_affected FROM compliance_requests"
        " WHERE id = $1",
        request,
    )
    if "status" in case:
        assert row is not None
        assert row["status"] == case["status"]
    if "frozenDistinctIds" in case:
        assert row is not None
        assert row["distinct_ids"] == case["frozenDistinctIds"]
    if "frozenSessionIds" in case:
        assert row is not None
        assert set(row["session_ids"]) == sessions_of(case["frozenSessionIds"])  # type: ignore[arg-type]
    if "eventsIdentified" in case:
        assert row is not None
        assert row["events_affected"] == case["eventsIdentified"]
    if "remainingEvents" in case:
        assert await stage.distinct_ids() == sorted(case["remainingEvents"])
        assert await stage.distinct_ids("distinct_id_activity_states") == sorted(
            case["remainingEvents"]
        )
    if "remainingSessionRollups" in case:
        assert await stage.sessions() == sessions_of(case["remainingSessionRollups"])


def test_statements_name_every_table_of_a_person() -> None:
    """What is keyed by a person in the event store is deleted there [storage 3.7]."""
    statements = " ".join(
        (event_store._DROP_SESSIONS, *(drop for _, drop in event_store.DELETIONS))  # pyright: ignore[reportPrivateUsage]
    )
    for table in (
        "dashboard_session_rollup",
        "events",
        "distinct_id_activity_states",
        "profile_aliases",
        "profiles",
    ):
        assert f"ALTER TABLE {table} DELETE" in statements
