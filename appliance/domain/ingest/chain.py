"""The ordered list of steps that an accepted batch goes through [ingestion 1].

Invariant: the order is `ENRICHMENT`'s, and a step never raises for bad data: it returns the batch
with what it changed, counted or dropped under a name. `run_steps` measures each of them. Checking
comes before (`validate.check_batch`), identity of cookieless events in between (`cookieless.py`,
its effects in `services/cookieless.py`), rows after (`rows.encode_blocks`).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct, field

from appliance.base.clock import Clock
from appliance.domain.ingest.attribution import attribute
from appliance.domain.ingest.bots import SERVER_ONLY_KEYS, read_bot_headers
from appliance.domain.ingest.event import CheckedEvent
from appliance.domain.ingest.facts import Count, RequestFacts
from appliance.domain.ingest.geo import locate, properties_to_write
from appliance.domain.ingest.user_agent import read_user_agent


class DropReason(StrEnum):
    """Why single events of an accepted request are not kept; told to the client as
    `dropped_by_reason` [ingestion 4.7].
    """

    DAY_OUT_OF_RANGE = "day_out_of_range"
    SALT_UNAVAILABLE = "salt_unavailable"
    SALT_CORRUPT = "salt_corrupt"


class Draft(Struct, frozen=True, kw_only=True):
    """A checked batch on its way: the events still in it, what was dropped, what was counted."""

    events: tuple[CheckedEvent, ...]
    dropped: dict[DropReason, int] = field(default_factory=dict[DropReason, int])
    counts: dict[Count, int] = field(default_factory=dict[Count, int])


class StepName(StrEnum):
    """Names of the steps, in their order."""

    GEO = "geo"
    USER_AGENT = "user_agent"
    BOTS = "bots"
    ATTRIBUTION = "attribution"


class Step(Struct, frozen=True):
    """A named step of the chain."""

    name: StepName
    run: Callable[[Draft, RequestFacts], Draft]


class StepReport(Struct, frozen=True):
    """What the runner saw of one step."""

    name: StepName
    seconds: float
    events: int


class Passage(Struct, frozen=True):
    """A batch that went through the chain, and how each step did."""

    draft: Draft
    reports: tuple[StepReport, ...]


def run_steps(steps: Sequence[Step], draft: Draft, facts: RequestFacts, *, clock: Clock) -> Passage:
    """Take a batch through the steps in order, measuring each."""
    reports: list[StepReport] = []
    started = clock.monotonic_seconds()
    for step in steps:
        draft = step.run(draft, facts)
        ended = clock.monotonic_seconds()
        reports.append(StepReport(step.name, ended - started, len(draft.events)))
        started = ended
    return Passage(draft, tuple(reports))


def _counting(draft: Draft, counts: dict[Count, int]) -> Draft:
    added = {count: number for count, number in counts.items() if number}
    if not added:
        return draft
    return Draft(
        events=draft.events,
        dropped=draft.dropped,
        counts={
            count: draft.counts.get(count, 0) + added.get(count, 0)
            for count in (*draft.counts, *added)
        },
    )


def write_geography(draft: Draft, facts: RequestFacts) -> Draft:
    """Delete `$ip`, then overwrite with what headers or the address tell [ingestion 5]."""
    geography = locate(facts.headers)
    written = properties_to_write(geography, facts.place)
    stripped = 0
    for event in draft.events:
        properties = event.auto_properties
        if properties.pop("$ip", None) is not None:
            stripped += 1
        properties.update(written)
    return _counting(
        draft,
        {
            Count.IP_STRIPPED: stripped,
            Count.GEO_NOT_A_NUMBER: geography.numbers_unparseable,
        },
    )


def fill_user_agent(draft: Draft, facts: RequestFacts) -> Draft:
    """Fill absent keys from the `User-Agent` [ingestion 6]."""
    agent = read_user_agent(facts.user_agent)
    for event in draft.events:
        for key, value in agent.properties:
            event.auto_properties.setdefault(key, value)
    return draft


def write_bot_signs(draft: Draft, facts: RequestFacts) -> Draft:
    """Delete what clients say about bots, write what the headers tell [ingestion 7]."""
    signs = read_bot_headers(facts.headers)
    for event in draft.events:
        for key in SERVER_ONLY_KEYS:
            event.auto_properties.pop(key, None)
        event.auto_properties.update(signs.properties)
    return _counting(draft, dict.fromkeys(signs.unparseable, 1))


def write_attribution(draft: Draft, _facts: RequestFacts) -> Draft:
    """Derive path, host, referrer, campaign, channel, locale, screen size [ingestion 8]."""
    not_web = 0
    for event in draft.events:
        not_web += attribute(event.auto_properties)
    return _counting(draft, {Count.URL_NOT_WEB: not_web})


ENRICHMENT: Final = (
    Step(StepName.GEO, write_geography),
    Step(StepName.USER_AGENT, fill_user_agent),
    Step(StepName.BOTS, write_bot_signs),
    Step(StepName.ATTRIBUTION, write_attribution),
)
"""Steps 7 to 10 of the contract, in its order [ingestion 1]."""
