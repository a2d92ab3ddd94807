"""What was asked: the insight question as checked, typed values.

Invariant: a spec is complete. Defaults of the contract are filled in, the reporting zone is the
project's, absent conditions are empty ones, and instants are whole milliseconds; so nothing after
`wire.py` looks at a message. Rules about which combinations exist are the validator's
[insights 21.2]. Next: `route.py` and `plan.py`.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

BREAKDOWN_LIMIT_DEFAULT: Final = 10
"""Breakdown values kept when none is asked for [insights 2]."""

TOP_K_LIMIT_DEFAULT: Final = 10
"""Rows of a ranking when none is asked for [insights 2]."""

COUNTRIES_MAX: Final = 676
"""Rows of a map: every pair of letters."""


class Granularity(StrEnum):
    """The width of a time bucket."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Aggregation(StrEnum):
    """What is computed over the matching events [insights 6]."""

    TOTAL = "total"
    UNIQUE_USERS = "unique_users"
    PER_USER_AVG = "per_user_avg"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"


class Operator(StrEnum):
    """How a filter compares [insights 5.1]."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    IS_SET = "is_set"
    IS_NOT_SET = "is_not_set"
    LT = "lt"
    LTE = "lte"
    GT = "gt"
    GTE = "gte"
    IN = "in"
    NOT_IN = "not_in"
    BETWEEN = "between"
    NOT_BETWEEN = "not_between"


class Logic(StrEnum):
    """How conditions are joined."""

    AND = "and"
    OR = "or"


class SessionMetric(StrEnum):
    """What is told about sessions [insights 11]."""

    SESSIONS = "sessions"
    AVG_DURATION = "avg_duration"
    BOUNCE_RATE = "bounce_rate"
    ENTRY = "entry"
    EXIT = "exit"
    AVG_EVENTS_PER_SESSION = "avg_events_per_session"


class Comparison(StrEnum):
    """How a number of times is compared."""

    AT_LEAST = "at_least"
    AT_MOST = "at_most"
    EXACTLY = "exactly"


class Dimension(StrEnum):
    """What a ranking groups by [insights 15.2]."""

    PROPERTY = "property"
    EVENT_KIND = "event_kind"
    USER = "user"
    COUNTRY = "country"


class TimeRange(Struct, frozen=True, kw_only=True, tag=True):
    """Half-open, in milliseconds since 1970 UTC [insights 3.1]."""

    start_ms: int
    end_ms: int


class PropertyFilter(Struct, frozen=True, kw_only=True):
    """One comparison. `of_profile` says whose property it is [insights 5.4].

    A filter on `$cohort` names cohorts by id; `crowd` are their people, once they were looked up.
    """

    property: str
    operator: Operator
    value: str = ""
    values: tuple[str, ...] = ()
    of_profile: bool = False
    crowd: "Crowd | None" = None


class FilterGroup(Struct, frozen=True, kw_only=True):
    """Filters joined by one operator."""

    filters: tuple[PropertyFilter, ...]
    logic: Logic = Logic.AND


class FilterGroups(Struct, frozen=True, kw_only=True):
    """The top-level conditions: groups joined by one operator [insights 5.3]."""

    groups: tuple[FilterGroup, ...] = ()
    logic: Logic = Logic.AND


class EventCondition(Struct, frozen=True, kw_only=True):
    """Kind and filters of one event, ANDed; an empty kind is any kind."""

    kind: str = ""
    filters: tuple[PropertyFilter, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.kind and not self.filters


class Last(Struct, frozen=True, kw_only=True, tag=True):
    """Whole local hours or days, the current one and those before it; one of the two is not 0."""

    hours: int = 0
    days: int = 0


class Did(Struct, frozen=True, kw_only=True, tag=True):
    """Had matching events so many times; without a span: ever."""

    condition: EventCondition
    comparison: Comparison
    times: int
    span: "Span" = None


class FirstDid(Struct, frozen=True, kw_only=True, tag=True):
    """Had the first matching event of all within the span."""

    condition: EventCondition
    span: "Span"


class Has(Struct, frozen=True, kw_only=True, tag=True):
    """Is an identified person whose property passes the filter."""

    filter: PropertyFilter


class Within(Struct, frozen=True, kw_only=True, tag=True):
    """Is in the cohort of that id, or is not."""

    cohort_id: str
    is_not: bool = False


class Listed(Struct, frozen=True, kw_only=True, tag=True):
    """Has one of these ids."""

    ids: tuple[str, ...]


class Crowd(Struct, frozen=True, kw_only=True, tag=True):
    """People by criteria joined by one operator; of no criteria: everybody for AND, else nobody.

    A resolved crowd has instants in place of `Last`, and crowds in place of `Within`.
    """

    criteria: tuple["Criterion", ...]
    logic: Logic = Logic.AND
    is_not: bool = False


Span = TimeRange | Last | None
Criterion = Did | FirstDid | Has | Within | Listed | Crowd


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events, and what is computed over them.

    `is_condition_sent` keeps apart a missing event filter from an empty one [insights 21.3].
    """

    condition: EventCondition = EventCondition()
    aggregation: Aggregation = Aggregation.TOTAL
    aggregation_property: str = ""
    is_condition_sent: bool = True


class Breakdown(Struct, frozen=True, kw_only=True):
    """Properties to split by, and how many tuples are kept; no property, no split."""

    properties: tuple[str, ...] = ()
    limit: int = BREAKDOWN_LIMIT_DEFAULT


class Trends(Struct, frozen=True, kw_only=True, tag=True):
    """A time series per event kind and breakdown tuple [insights 8]."""

    events: tuple[EventQuery, ...] = ()
    breakdown: Breakdown = Breakdown()


class Segmentation(Struct, frozen=True, kw_only=True, tag=True):
    """One number [insights 10]."""

    events: tuple[EventQuery, ...] = ()


class SessionTrends(Struct, frozen=True, kw_only=True, tag=True):
    """A time series about sessions [insights 11]."""

    metric: SessionMetric
    scope: EventCondition = EventCondition()
    breakdown: Breakdown = Breakdown()


class SessionNumber(Struct, frozen=True, kw_only=True, tag=True):
    """One number about sessions [insights 11]."""

    metric: SessionMetric
    scope: EventCondition = EventCondition()


class Funnel(Struct, frozen=True, kw_only=True, tag=True):
    """Steps in order [insights 12]; without a conversion window the range is the window."""

    steps: tuple[EventQuery, ...]
    breakdown: Breakdown = Breakdown()
    conversion_window_seconds: int | None = None
    include_step_timing: bool = False


class Retention(Struct, frozen=True, kw_only=True, tag=True):
    """Who came back: the start event and, optionally, the return event [insights 13]."""

    events: tuple[EventQuery, ...]
    breakdown: Breakdown = Breakdown()


class UserFlow(Struct, frozen=True, kw_only=True, tag=True):
    """Paths inside sessions [insights 14]; an empty node property labels nodes by kind."""

    node_property: str = ""
    scope: EventCondition = EventCondition()
    hops_max: int = 5
    nodes_max: int = 20
    links_max: int = 100


class TopK(Struct, frozen=True, kw_only=True, tag=True):
    """A ranking [insights 15]."""

    dimension: Dimension
    property: str = ""
    scope: EventCondition = EventCondition()
    metric: Aggregation = Aggregation.TOTAL
    metric_property: str = ""
    limit: int = TOP_K_LIMIT_DEFAULT
    omit_others: bool = False


Question = (
    Trends | Segmentation | SessionTrends | SessionNumber | Funnel | Retention | UserFlow | TopK
)


class InsightSpec(Struct, frozen=True, kw_only=True):
    """One insight as asked, in the project's reporting zone (empty or "UTC": UTC)."""

    question: Question
    range: TimeRange
    granularity: Granularity
    zone: str = ""
    filters: FilterGroups = FilterGroups()
    include_cookieless: bool = False
