"""Random events and random questions, for every type of insight.

Invariant: times are crowded on bucket edges, texts look like numbers, SQL and escapes, and some
people are cookieless: what goes wrong is drawn often.
"""

from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from appliance.domain.insights.spec import (
    Aggregation,
    Breakdown,
    EventCondition,
    EventQuery,
    FilterGroup,
    FilterGroups,
    Granularity,
    InsightSpec,
    Logic,
    Operator,
    PropertyFilter,
    TimeRange,
    Trends,
)
from tests.support.oracle_sessions import NO_SESSION

EXAMPLES = 60
START = datetime(2025, 3, 1, tzinfo=UTC)
DAY_MS = 86_400_000
START_MS = int(START.timestamp()) * 1000
NOW_MS = START_MS + 400 * DAY_MS
ZONES = ["", "UTC", "America/New_York", "Asia/Kathmandu", "Asia/Beirut", "Pacific/Chatham"]
TEXTS = ["", "a", "B", "é", "5", "1e1", "x'y", "\\", "{p0:String}", "$others", "5 ", "0x1"]
SLOTS = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(-20, 20).map(lambda n: {"int": n}),
    st.integers(-80, 80).map(lambda n: {"double": n / 4}),
    st.booleans().map(lambda b: {"bool": b}),
    st.just({"time": "2025-01-02T03:04:05.600Z"}),
)


def iso(offset_ms: int) -> str:
    return (START + timedelta(milliseconds=offset_ms)).isoformat(timespec="milliseconds")[:23] + "Z"


EVENT = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["a", "a", "b", "c"]),
        "distinct_id": st.sampled_from(["u1", "u2", "u3", "cookieless-1", "cookieless-2"]),
        "session_id": st.just("00000000-0000-4000-8000-000000000001"),
        "occur_time": st.one_of(
            st.integers(0, 45 * DAY_MS),
            st.integers(0, 45 * 24).map(lambda hour: hour * 3_600_000),
            st.integers(DAY_MS, 2 * DAY_MS),
        ).map(iso),
        "auto": st.fixed_dictionaries(
            {"$os": st.sampled_from(TEXTS)}, optional={"$country": st.sampled_from(TEXTS)}
        ),
        "custom": st.fixed_dictionaries({"n": SLOTS}, optional={"plan": SLOTS}),
    }
)
EVENTS = st.one_of(st.lists(EVENT, max_size=4), st.lists(EVENT, min_size=15, max_size=40))

KEYS = st.sampled_from(["n", "plan", "$os", "$mobile", "$nothing"])
_NUMBERS = st.sampled_from(["5", "-2.5", "1e1", "0"])


@st.composite
def filters(draw) -> PropertyFilter:
    operator = draw(st.sampled_from(list(Operator)))
    key = draw(KEYS)
    if operator in {Operator.LT, Operator.LTE, Operator.GT, Operator.GTE}:
        return PropertyFilter(property=key, operator=operator, value=draw(_NUMBERS))
    if operator in {Operator.BETWEEN, Operator.NOT_BETWEEN}:
        return PropertyFilter(property=key, operator=operator, values=(draw(_NUMBERS), "7"))
    if operator in {Operator.IN, Operator.NOT_IN}:
        values = tuple(draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3)))
        return PropertyFilter(property=key, operator=operator, values=values)
    if operator in {Operator.IS_SET, Operator.IS_NOT_SET}:
        return PropertyFilter(property=key, operator=operator)
    value = draw(st.sampled_from([text for text in TEXTS if text]))
    return PropertyFilter(property=key, operator=operator, value=value)


_LOGIC = st.sampled_from(list(Logic))
GROUP = st.builds(
    FilterGroup,
    filters=st.lists(filters(), min_size=1, max_size=3).map(tuple),
    logic=_LOGIC,
)
GROUPS = st.builds(
    FilterGroups,
    groups=st.one_of(st.just([]), st.lists(GROUP, min_size=1, max_size=2)).map(tuple),
    logic=_LOGIC,
)


def queries(kinds, aggregations, conditions):
    return st.builds(
        EventQuery,
        condition=st.builds(EventCondition, kind=st.sampled_from(kinds), filters=conditions),
        aggregation=st.sampled_from(aggregations),
        aggregation_property=st.just("n"),
    )


ANY_QUERY = queries(
    ["", "a", "a", "b"],
    list(Aggregation),
    st.one_of(st.just([]), st.lists(filters(), min_size=1, max_size=2)).map(tuple),
)
COUNTABLE_QUERY = queries(
    ["a", "b", "c"],
    [Aggregation.TOTAL, Aggregation.UNIQUE_USERS, Aggregation.PER_USER_AVG],
    st.just(()),
)


@st.composite
def ranges(draw, granularity: Granularity) -> TimeRange:
    days = {Granularity.MINUTE: 0.25, Granularity.HOUR: 14}.get(granularity, 50)
    if draw(st.booleans()):  # wide, and over the crowded second day
        offset = draw(st.sampled_from([0, 1, 1_800_000, DAY_MS // 2]))
        start = DAY_MS + offset - (0 if days < 1 else DAY_MS)
        length = int(days * DAY_MS)
    else:
        start = draw(st.integers(-5 * DAY_MS, 40 * DAY_MS))
        length = draw(st.integers(1, int(days * DAY_MS)))
    return TimeRange(start_ms=START_MS + start, end_ms=START_MS + start + length)


@st.composite
def rolled_up_trends(draw) -> InsightSpec:
    """A trend that the daily roll-up may answer."""
    keys = draw(st.sampled_from([(), ("$os",), ("$country",)]))
    first, days = draw(
        st.one_of(st.just((0, 46)), st.tuples(st.integers(-3, 44), st.integers(1, 50)))
    )
    return InsightSpec(
        question=Trends(
            events=tuple(draw(st.lists(COUNTABLE_QUERY, min_size=1, max_size=3))),
            breakdown=Breakdown(properties=keys, limit=draw(st.integers(1, 4))),
        ),
        range=TimeRange(
            start_ms=START_MS + first * DAY_MS, end_ms=START_MS + (first + days) * DAY_MS
        ),
        granularity=draw(st.sampled_from([Granularity.DAY, Granularity.WEEK, Granularity.MONTH])),
        include_cookieless=draw(st.booleans()),
    )


RANDOM = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


_WALK_EVENT = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["a", "a", "b", "c"]),
        "distinct_id": st.sampled_from(["u1", "u2", "u3", "u4", "u5", "cookieless-1"]),
        "session_id": st.sampled_from(
            [NO_SESSION, *(f"00000000-0000-4000-8000-00000000000{n}" for n in range(1, 6))]
        ),
        "occur_time": st.one_of(
            st.tuples(st.just(2), st.integers(0, 8), st.sampled_from([0, 400, 999])),
            st.tuples(st.integers(0, 4), st.integers(0, 200), st.just(0)),
            st.tuples(st.integers(0, 12), st.integers(0, 86_399), st.integers(0, 999)),
        ).map(lambda at: iso(at[0] * DAY_MS + at[1] * 1000 + at[2])),
        "auto": st.fixed_dictionaries(
            {"$os": st.sampled_from(TEXTS)}, optional={"$country": st.sampled_from(TEXTS)}
        ),
        "custom": st.fixed_dictionaries({"n": SLOTS}, optional={"plan": SLOTS}),
    }
)
WALKS = st.one_of(
    st.lists(_WALK_EVENT, max_size=5), st.lists(_WALK_EVENT, min_size=20, max_size=60)
)
"""Few people and sessions who do much, also within one second and one millisecond."""

SCOPES = st.builds(
    EventCondition,
    kind=st.sampled_from(["", "", "a", "b"]),
    filters=st.one_of(st.just([]), st.lists(filters(), min_size=1, max_size=1)).map(tuple),
)
KIND_SCOPES = st.builds(EventCondition, kind=st.sampled_from(["", "", "a", "b"]))
CONDITIONS = st.one_of(
    st.builds(EventCondition, kind=st.sampled_from(["a", "b", "c"])),
    st.builds(
        EventCondition,
        kind=st.sampled_from(["", "a", "b"]),
        filters=st.lists(filters(), min_size=1, max_size=1).map(tuple),
    ),
)
STEPS = st.builds(EventQuery, condition=CONDITIONS)


@st.composite
def specs(draw, questions) -> InsightSpec:
    """A question in any range, width and zone, with or without filters."""
    granularity = draw(st.sampled_from(list(Granularity)))
    wide = TimeRange(start_ms=START_MS, end_ms=START_MS + 14 * DAY_MS)
    has_all = granularity is not Granularity.MINUTE and draw(st.booleans())
    return InsightSpec(
        question=draw(questions),
        range=wide if has_all else draw(ranges(granularity)),
        granularity=granularity,
        zone=draw(st.sampled_from(ZONES)),
        filters=draw(st.one_of(st.just(FilterGroups()), GROUPS)),
        include_cookieless=draw(st.booleans()),
    )


@st.composite
def whole_days(draw, questions) -> InsightSpec:
    """A question that a roll-up may answer: whole UTC days, no filters."""
    first, days = draw(
        st.one_of(st.just((0, 14)), st.tuples(st.integers(-2, 11), st.integers(1, 20)))
    )
    start_ms = START_MS + first * DAY_MS
    return InsightSpec(
        question=draw(questions),
        range=TimeRange(start_ms=start_ms, end_ms=start_ms + days * DAY_MS),
        granularity=draw(st.sampled_from([Granularity.DAY, Granularity.WEEK, Granularity.MONTH])),
        include_cookieless=draw(st.booleans()),
    )


def breakdowns(key_lists, limits=st.integers(1, 3)):  # noqa: B008 a strategy never changes
    """Splits with few tuples kept."""
    return st.builds(Breakdown, properties=key_lists.map(tuple), limit=limits)
