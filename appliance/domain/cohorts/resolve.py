"""From saved cohorts to what can be asked at one instant: no moving spans, no names.

Invariant: a resolved crowd holds everything that the answer depends on, so an equal one has equal
people while the data is the same; spans end with the current local hour or day, so it stays equal
for that long. Circles and depth are refused here, whoever saved them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct
from msgspec.structs import replace

from appliance.base.errors import InvalidInputError, NotFoundError, Resource
from appliance.domain.cohorts.cohort import (
    ASKED_IDS_MAX,
    CRITERIA_MAX,
    DEPTH_MAX,
    CohortContent,
    IdList,
    Rules,
)
from appliance.domain.insights.spec import (
    Criterion,
    Crowd,
    Did,
    FirstDid,
    Granularity,
    Has,
    Last,
    Listed,
    Logic,
    Span,
    TimeRange,
    Within,
)
from appliance.domain.insights.window import load_zone, make_buckets

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_MS: Final = 3_600_000


class Moment(Struct, frozen=True, kw_only=True):
    """When a question is asked, and in which zone."""

    now_ms: int
    zone: str


def resolve_cohort(cohort_id: str, known: Mapping[str, CohortContent], moment: Moment) -> Crowd:
    """The people of a cohort at a moment; `known` has it and all that it leads to.

    Raises NotFoundError (`COHORT_NOT_FOUND`), InvalidInputError (`INVALID_COHORT`).
    """
    return _Resolver(known, moment).named(Within(cohort_id=cohort_id), ())


def resolve_crowd(crowd: Crowd, known: Mapping[str, CohortContent], moment: Moment) -> Crowd:
    """The people of rules that are not saved yet; raises as `resolve_cohort` does."""
    return _Resolver(known, moment).crowd(crowd, ("",))


def require_small(crowds: Iterator[Crowd]) -> None:
    """Raise InvalidInputError (`INVALID_COHORT`) when resolved crowds ask too much together."""
    criteria = ids = 0
    for crowd in crowds:
        for criterion in _leaves(crowd):
            criteria += 1
            ids += len(criterion.ids) if isinstance(criterion, Listed) else 0
            if criteria > CRITERIA_MAX or ids > ASKED_IDS_MAX:
                raise _too_much()


def resolve_span(span: Span, moment: Moment) -> TimeRange | None:
    """The instants of a span; `Last` ends with the hour or day that is now."""
    if not isinstance(span, Last):
        return span
    zone = load_zone(moment.zone)
    now = TimeRange(start_ms=moment.now_ms, end_ms=moment.now_ms + 1)
    if span.days:
        end_ms = make_buckets(now, Granularity.DAY, zone).edges_ms[-1]
        return TimeRange(start_ms=_first_instant(span.days - 1, moment, zone), end_ms=end_ms)
    end_ms = make_buckets(now, Granularity.HOUR, zone).edges_ms[-1]
    return TimeRange(start_ms=end_ms - span.hours * _HOUR_MS, end_ms=end_ms)


def _first_instant(days_ago: int, moment: Moment, zone: ZoneInfo) -> int:
    """Where a local day begins; found by its noon, which every day has."""
    today = (_EPOCH + timedelta(milliseconds=moment.now_ms)).astimezone(zone).date()
    noon = datetime.combine(today - timedelta(days=days_ago), time(12), tzinfo=zone)
    noon_ms = (noon - _EPOCH) // timedelta(milliseconds=1)
    window = TimeRange(start_ms=noon_ms, end_ms=noon_ms + 1)
    return make_buckets(window, Granularity.DAY, zone).edges_ms[0]


class _Resolver:
    """Follows rules to their ends, not further than a question may go."""

    def __init__(self, known: Mapping[str, CohortContent], moment: Moment) -> None:
        self._known = known
        self._moment = moment
        self._criteria = 0

    def named(self, asked: Within, path: tuple[str, ...]) -> Crowd:
        """The people of a cohort that was reached on this path of ids."""
        if asked.cohort_id in path:
            raise _refused("a cohort leads back to itself")
        if len(path) >= DEPTH_MAX:
            raise _refused(f"cohorts within cohorts are more than {DEPTH_MAX} deep")
        content = self._known.get(asked.cohort_id)
        match content:
            case None:
                raise cohort_not_found(asked.cohort_id)
            case IdList(ids=ids):
                return Crowd(criteria=(Listed(ids=ids),), is_not=asked.is_not)
            case Rules(crowd=crowd):
                inner = self.crowd(crowd, (*path, asked.cohort_id))
                return replace(inner, is_not=inner.is_not is not asked.is_not)
            case _:
                assert_never(content)

    def crowd(self, crowd: Crowd, path: tuple[str, ...]) -> Crowd:
        """The same people without names and moving spans."""
        return replace(crowd, criteria=tuple(self._one(one, path) for one in crowd.criteria))

    def _one(self, criterion: Criterion, path: tuple[str, ...]) -> Criterion:
        self._criteria += 1
        if self._criteria > CRITERIA_MAX * DEPTH_MAX:
            raise _too_much()
        match criterion:
            case Did(span=span) | FirstDid(span=span):
                return replace(criterion, span=resolve_span(span, self._moment))
            case Within():
                return self.named(criterion, path)
            case Crowd():
                return self.crowd(criterion, path)
            case Has() | Listed():
                return criterion
            case _:
                assert_never(criterion)


def any_of(crowds: tuple[Crowd, ...]) -> Crowd:
    """The people of any of them."""
    return crowds[0] if len(crowds) == 1 else Crowd(criteria=crowds, logic=Logic.OR)


def cohort_not_found(cohort_id: str) -> NotFoundError:
    """No cohort of this id in this project."""
    return NotFoundError(
        "COHORT_NOT_FOUND",
        "there is no such cohort",
        resource=Resource(kind="cohort", name=cohort_id),
    )


def _leaves(criterion: Criterion) -> Iterator[Criterion]:
    if isinstance(criterion, Crowd):
        for one in criterion.criteria:
            yield from _leaves(one)
    else:
        yield criterion


def _too_much() -> InvalidInputError:
    return _refused(
        f"one question with more than {CRITERIA_MAX} criteria of cohorts"
        f" or {ASKED_IDS_MAX} listed ids"
    )


def _refused(sentence: str) -> InvalidInputError:
    return InvalidInputError("INVALID_COHORT", sentence)
