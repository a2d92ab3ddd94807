"""Random events and random questions: events = roll-up = oracle."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.domain.insights.plan import plan_insight
from appliance.domain.insights.route import Source
from appliance.domain.insights.spec import (
    Breakdown,
    Granularity,
    InsightSpec,
    Segmentation,
    Trends,
)
from appliance.storage.clickhouse.insights.run import ClickHouseInsights
from tests.integration.insights.generated import (
    ANY_QUERY,
    EVENTS,
    GROUPS,
    KEYS,
    NOW_MS,
    RANDOM,
    ZONES,
    ranges,
    rolled_up_trends,
)
from tests.support import oracle
from tests.support.event_rows import make_rows

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

_PROJECTS = count()


@st.composite
def _any_trend(draw) -> InsightSpec:
    granularity = draw(st.sampled_from(list(Granularity)))
    keys = draw(st.lists(KEYS, max_size=2, unique=True))
    return InsightSpec(
        question=Trends(
            events=tuple(draw(st.lists(ANY_QUERY, max_size=3))),
            breakdown=Breakdown(properties=tuple(keys), limit=draw(st.integers(1, 4))),
        ),
        range=draw(ranges(granularity)),
        granularity=granularity,
        zone=draw(st.sampled_from(ZONES)),
        filters=draw(GROUPS),
        include_cookieless=draw(st.booleans()),
    )


def _served(answer) -> oracle.Answer:
    """The answer in the oracle's form; a real `$others` and the rest share one entry."""
    found: oracle.Answer = {}
    for series in answer.series:
        values = tuple(value for _, value in series.breakdown)
        points = found.setdefault((series.kind, values), [])
        points += [(point.time_ms, pytest.approx(point.value, rel=1e-9)) for point in series.points]
    return found


def _has_real_others(answer) -> bool:
    keys = [(series.kind, series.breakdown) for series in answer.series]
    return len(keys) != len(set(keys))


async def _answer(store, spec: InsightSpec, project: str, source: Source | None = None):
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    assert source is None or plan.source is Source.EVENT_ROLLUP, "the control arm: it may be used"
    plan = plan if source is None else replace(plan, source=source)
    return await ClickHouseInsights(store).answer(plan)


@RANDOM
@given(events=EVENTS, specs=st.lists(_any_trend(), min_size=1, max_size=4))
async def test_trends_from_events_are_the_oracles(event_store, events, specs) -> None:
    """Any filter, zone, width, breakdown and aggregation [insights 3 to 9]."""
    project = f"trends-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    for spec in specs:
        answer = await _answer(event_store, spec, project)
        if not _has_real_others(answer):
            assert _served(answer) == oracle.trends(spec, events, is_rest_exact=False)


@RANDOM
@given(events=EVENTS, specs=st.lists(rolled_up_trends(), min_size=1, max_size=4))
async def test_both_sources_give_the_oracles_trend(event_store, events, specs) -> None:
    """What the roll-up may answer, it answers like the events [insights 20]."""
    project = f"rollup-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    for spec in specs:
        for source in (Source.EVENTS, Source.EVENT_ROLLUP):
            answer = await _answer(event_store, spec, project, source)
            is_exact = source is Source.EVENT_ROLLUP
            if not _has_real_others(answer):
                assert _served(answer) == oracle.trends(spec, events, is_rest_exact=is_exact)


@RANDOM
@given(events=EVENTS, trend=st.one_of(_any_trend(), rolled_up_trends()))
async def test_totals_are_the_oracles(event_store, events, trend) -> None:
    """One number over the same conditions, from every source that may answer [insights 10]."""
    asked = trend.question.events
    if len(asked) > 1:
        asked = tuple(query for query in asked if not query.condition.is_empty)
    spec = replace(trend, question=Segmentation(events=asked))
    project = f"totals-{next(_PROJECTS)}"

    await event_store.insert(make_rows(project, events))
    plan = plan_insight(spec, project_id=project, now_ms=NOW_MS)
    for source in {Source.EVENTS, plan.source}:
        answer = await ClickHouseInsights(event_store).answer(replace(plan, source=source))
        expected = oracle.segmentation(spec, events)
        assert answer.total == pytest.approx(expected, rel=1e-9, abs=1e-9)
