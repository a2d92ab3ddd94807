"""Roll-ups give the numbers that the raw events give [insights 23.2]."""

import random

import pytest

from tests.support.pipeline import Counts, Stage, encode, make_events

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SESSION_COLUMNS = (
    *("country", "region", "city", "browser", "os", "device", "platform", "url"),
    *("utm_source", "utm_medium", "utm_campaign", "pathname", "referrer_domain", "channel"),
    *("utm_term", "utm_content"),
)
ACTIVITY_COLUMNS = (
    *("browser", "browser_version", "os", "os_version", "device", "country", "region", "city"),
)


async def fill(stage: Stage) -> None:
    """Several blocks of varied events, a few of them cookieless or with a zero character."""
    chance = random.Random(3)
    kept = 0
    async with stage.working(stage.writer(rows_max=40)):
        for seed in range(5):
            events = make_events(60, seed=seed, months=2)
            for row in events:
                for column in {*SESSION_COLUMNS, *ACTIVITY_COLUMNS}:
                    row[column] = chance.choice(("", "a", "b", "ä", "x\0y"))
                if chance.random() < 0.2:
                    row["distinct_id"] = f"cookieless-{chance.randrange(5)}"
            kept += sum(not str(row["distinct_id"]).startswith("cookieless-") for row in events)
            await stage.publish(encode(events))
        await stage.expect(Counts(300, 300, 300, 300, kept, 300, 300))


async def test_sessions(stage: Stage) -> None:
    """Start, end, count and the sixteen values of entry and exit."""
    await fill(stage)
    joined = ", ".join(f"replaceAll({one}, '\\0', '')" for one in SESSION_COLUMNS)
    raw = await stage.store.rows(
        "SELECT toString(session_id), min(occur_time), max(occur_time), count(), "
        f"argMin([{joined}], (occur_time, event_id)), argMax([{joined}], (occur_time, event_id)) "
        "FROM events GROUP BY session_id ORDER BY 1"
    )
    rolled = await stage.store.rows(
        "SELECT toString(session_id), min(start_time), max(end_time), sum(event_count), "
        "splitByChar('\\0', substring(min(entry), 25)), "
        "splitByChar('\\0', substring(max(exit), 25)) "
        "FROM dashboard_session_rollup WHERE scope = '' GROUP BY session_id ORDER BY 1"
    )
    assert rolled == raw
    scopes = await stage.store.rows(
        "SELECT scope, sum(event_count) FROM dashboard_session_rollup "
        "WHERE scope != '' GROUP BY scope ORDER BY 1"
    )
    kinds = await stage.store.rows("SELECT kind, count() FROM events GROUP BY kind ORDER BY 1")
    assert scopes == kinds


async def test_activity(stage: Stage) -> None:
    """First and last time, counts, sessions and the latest values of each person."""
    await fill(stage)
    joined = ", ".join(f"replaceAll({one}, '\\0', '')" for one in ACTIVITY_COLUMNS)
    raw = await stage.store.rows(
        "SELECT distinct_id, min(occur_time), max(occur_time), count(), "
        f"countIf(kind = 'page_view'), uniq(session_id), "
        f"argMax([{joined}], (occur_time, event_id)) "
        "FROM events WHERE NOT startsWith(distinct_id, 'cookieless-') "
        "GROUP BY distinct_id ORDER BY 1"
    )
    rolled = await stage.store.rows(
        "SELECT distinct_id, min(first_time), max(last_time), sum(event_count), "
        "sum(page_view_count), uniqMerge(sessions), splitByChar('\\0', substring(max(latest), 25)) "
        "FROM distinct_id_activity_states GROUP BY distinct_id ORDER BY 1"
    )
    assert rolled == raw


async def test_daily(stage: Stage) -> None:
    """Counts and visitors of a dimension, with and without cookieless ones."""
    await fill(stage)
    raw = await stage.store.rows(
        "SELECT kind, toDate32(occur_time) AS day, country, "
        "startsWith(distinct_id, 'cookieless-') AS flag, count(), uniq(distinct_id) "
        "FROM events GROUP BY ALL ORDER BY ALL"
    )
    rolled = await stage.store.rows(
        "SELECT kind, day, value, cookieless, sum(event_count), uniqMerge(visitors) "
        "FROM dashboard_event_rollup_daily WHERE dimension = '$country' GROUP BY ALL ORDER BY ALL"
    )
    assert rolled == raw
    dimensions = await stage.store.rows(
        "SELECT uniqExact(dimension) FROM dashboard_event_rollup_daily"
    )
    assert dimensions[0][0] == 21


async def test_names_and_property_keys(stage: Stage) -> None:
    """Kinds with their last time, and keys with their types, as soon as they are stored."""
    await fill(stage)
    raw = await stage.store.rows(
        "SELECT kind, count(), max(occur_time) FROM events GROUP BY kind ORDER BY 1"
    )
    assert raw == await stage.store.rows(
        "SELECT kind, sum(event_count), max(last_time) FROM event_names GROUP BY kind ORDER BY 1"
    )
    keys = await stage.store.rows(
        "SELECT source, key, value_type, sum(event_count) FROM property_keys_event_buckets "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert keys == [("custom", "plan", "s", 300)]
