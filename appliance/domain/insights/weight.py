"""What a question costs the event store: whether stored totals answer it or events must be read.

Invariant: the weight follows from the plan alone, so a question waits in the same queue whoever
asks it. The queues are in `services/question_slots.py`.
"""

from enum import StrEnum

from appliance.domain.insights.plan import InsightPlan, SegmentationPlan, TrendsPlan
from appliance.domain.insights.ranking import RankingPlan
from appliance.domain.insights.route import Source
from appliance.domain.insights.sessions import SessionNumberPlan, SessionTrendsPlan


class Weight(StrEnum):
    """How much of the event store a question may need."""

    LIGHT = "light"
    HEAVY = "heavy"


def weigh(plan: InsightPlan) -> Weight:
    """Light is what a roll-up answers; everything else reads events."""
    match plan:
        case SessionNumberPlan() | SessionTrendsPlan():
            source = plan.sessions.source
        case TrendsPlan() | SegmentationPlan() | RankingPlan():
            source = plan.source
        case _:
            source = Source.EVENTS
    return weigh_source(source)


def weigh_source(source: Source) -> Weight:
    """The same of a reading that several questions share."""
    return Weight.HEAVY if source is Source.EVENTS else Weight.LIGHT
