"""The truth about sessions and user flow, slowly [insights 11, 14].

Invariant: as in `oracle.py`, written from the contract alone. Of equal instants the event that
stands first in the list is the first, which is the order of event ids that `make_rows` gives.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from appliance.domain.insights.spec import (
    EventCondition,
    InsightSpec,
    SessionMetric,
    SessionNumber,
    SessionTrends,
    UserFlow,
)
from tests.support.oracle import (
    OTHERS,
    Answer,
    Event,
    best,
    bucket_label,
    has_consent,
    is_in_range,
    matches,
    passes,
    text,
    time_ms,
)

Link = tuple[int, str, bool, str, bool, int]
"""Depth, source, whether it is the fold, target, whether it is the fold, sessions."""

NO_SESSION: Final = "00000000-0000-0000-0000-000000000000"


def session_number(spec: InsightSpec, events: Sequence[Event]) -> float:
    """One number about the sessions that start in range."""
    question = spec.question
    assert isinstance(question, SessionNumber)
    return _measure(question.metric, _sessions(spec, question.scope, events))


def session_trends(spec: InsightSpec, events: Sequence[Event]) -> Answer:
    """Every series of a session trend."""
    question = spec.question
    assert isinstance(question, SessionTrends)
    keys, kind = question.breakdown.properties, question.scope.kind or "$session"
    end = -1 if question.metric is SessionMetric.EXIT else 0
    cells: defaultdict[tuple[tuple[str, ...], int], list[list[Event]]] = defaultdict(list)
    for session in _sessions(spec, question.scope, events):
        split = tuple(text(session[end], key) for key in keys)
        cells[split, bucket_label(spec, time_ms(session[0]))].append(session)
    values = {cell: _measure(question.metric, found) for cell, found in cells.items()}
    totals: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for (split, _), value in values.items():
        totals[split] += value
    kept = best(totals, question.breakdown.limit if keys else 1)
    points: defaultdict[tuple[tuple[str, ...], int], float] = defaultdict(float)
    for (split, label), value in values.items():
        points[split if split in kept else (OTHERS,) * len(keys), label] += value
    answer: defaultdict[tuple[str, tuple[str, ...]], list[tuple[int, float]]] = defaultdict(list)
    for (split, label), value in sorted(points.items()):
        answer[kind, split].append((label, value))
    return dict(answer)


def user_flow(spec: InsightSpec, events: Sequence[Event], *, layered: bool = False) -> list[Link]:
    """The links of a flow in their order; `layered`: a node is a name at a depth."""
    asked = spec.question
    assert isinstance(asked, UserFlow)
    walked: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    for session in _clipped(spec, asked.scope, events):
        labels = [
            text(event, asked.node_property) if asked.node_property else str(event["kind"])
            for event in session[: asked.hops_max + 1]
        ]
        steps = enumerate(pairwise(labels))
        for edge in {(d if layered else 0, a, b) for d, (a, b) in steps if a != b and a and b}:
            walked[edge] += 1
    step = 1 if layered else 0
    weights: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for (depth, source, target), sessions in walked.items():
        weights[f"{depth:02}", source] += sessions
        weights[f"{depth + step:02}", target] += sessions
    kept = set(best(weights, asked.nodes_max))
    folded: defaultdict[tuple[int, str, bool, str, bool], int] = defaultdict(int)
    for (depth, source, target), sessions in walked.items():
        ends = (*_end(depth, source, kept), *_end(depth + step, target, kept))
        if layered or not (ends[1] and ends[3]):
            folded[depth, *ends] += sessions
    links = [(*ends, sessions) for ends, sessions in folded.items()]
    links.sort(
        key=lambda link: (-link[5], link[0], link[1].encode(), link[2], link[3].encode(), link[4])
    )
    return links[: asked.links_max]


def _end(depth: int, name: str, kept: set[tuple[str, ...]]) -> tuple[str, bool]:
    return (name, False) if (f"{depth:02}", name) in kept else (OTHERS, True)


def _sessions(
    spec: InsightSpec, scope: EventCondition, events: Sequence[Event]
) -> list[list[Event]]:
    """Whole sessions by time, of those that start in range."""
    found = _by_session([e for e in events if passes(spec, e) and matches(scope, e)])
    return [session for session in found if is_in_range(spec, session[0])]


def _clipped(
    spec: InsightSpec, scope: EventCondition, events: Sequence[Event]
) -> list[list[Event]]:
    return _by_session(
        [
            event
            for event in events
            if is_in_range(spec, event)
            and passes(spec, event)
            and matches(scope, event)
            and has_consent(spec, event)
            and event["session_id"] != NO_SESSION
        ]
    )


def _by_session(events: Sequence[Event]) -> list[list[Event]]:
    found: defaultdict[object, list[Event]] = defaultdict(list)
    for event in sorted(events, key=time_ms):
        found[event["session_id"]].append(event)
    return list(found.values())


def _measure(metric: SessionMetric, sessions: Sequence[Sequence[Event]]) -> float:
    count = len(sessions)
    if metric in {SessionMetric.SESSIONS, SessionMetric.ENTRY, SessionMetric.EXIT} or not count:
        return float(count)
    if metric is SessionMetric.BOUNCE_RATE:
        return 100 * sum(len(session) == 1 for session in sessions) / count
    if metric is SessionMetric.AVG_EVENTS_PER_SESSION:
        return sum(map(len, sessions)) / count
    lasted = (time_ms(one[-1]) // 1000 - time_ms(one[0]) // 1000 for one in sessions)
    return sum(lasted) / count
