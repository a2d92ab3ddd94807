"""The truth about cohorts, slowly: whose an event is, and who is in a crowd (decision 0034).

Invariant: written from docs/cohorts.md alone, with plain loops over events, profiles and aliases in
the form of the shared vectors; only resolved crowds are understood.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from appliance.domain.insights.spec import (
    Comparison,
    Criterion,
    Crowd,
    Did,
    EventCondition,
    FirstDid,
    Has,
    Listed,
    Logic,
    PropertyFilter,
    TimeRange,
)
from tests.support.oracle import Event, holds_for, matches, time_ms


class World(Struct, frozen=True, kw_only=True):
    """Everything that is known of a project; of an alias the last entry counts."""

    events: Sequence[Event]
    profiles: Sequence[Mapping[str, object]] = ()
    aliases: Sequence[tuple[str, str]] = ()

    def person(self, distinct_id: str) -> str:
        """Whose id this is."""
        live = {str(one["id"]): one for one in self.profiles if not one.get("deleted")}
        if distinct_id in live:
            return distinct_id
        owner = dict(self.aliases).get(distinct_id)
        if owner in live:
            return owner
        named = sorted(name for name, one in live.items() if one["external_id"] == distinct_id)
        return named[0] if named and distinct_id else distinct_id

    def people(self) -> set[str]:
        """Everybody who can be in a cohort."""
        seen = {str(event["distinct_id"]) for event in self.events}
        live = {str(one["id"]) for one in self.profiles if not one.get("deleted")}
        return live | {self.person(one) for one in seen if not _is_cookieless(one)}

    def members(self, crowd: Crowd) -> set[str]:
        """The people of a resolved crowd."""
        return {one for one in self.people() if self._meets(crowd, one)}

    def admits(self, crowd: Crowd, event: Event) -> bool:
        """Whether an event is one of the crowd's."""
        name = str(event["distinct_id"])
        return not _is_cookieless(name) and self._meets(crowd, self.person(name))

    def _meets(self, criterion: Criterion, person: str) -> bool:
        match criterion:
            case Crowd():
                join = any if criterion.logic is Logic.OR else all
                met = join(self._meets(one, person) for one in criterion.criteria)
                return met is not criterion.is_not
            case Did():
                return _compares(
                    criterion, len(self._deeds(person, criterion.condition, criterion.span))
                )
            case FirstDid():
                deeds = self._deeds(person, criterion.condition, None)
                return bool(deeds) and _covers(criterion.span, min(deeds))
            case Has():
                return self._has(person, criterion.filter)
            case Listed():
                return person in {self.person(one) for one in criterion.ids}
            case _:
                raise AssertionError(f"not resolved: {criterion}")

    def _deeds(self, person: str, condition: EventCondition, span: object) -> list[int]:
        return [
            time_ms(event)
            for event in self.events
            if not _is_cookieless(str(event["distinct_id"]))
            and self.person(str(event["distinct_id"])) == person
            and matches(condition, event)
            and _covers(span, time_ms(event))
        ]

    def _has(self, person: str, asked: PropertyFilter) -> bool:
        found = [
            one
            for one in self.profiles
            if one["id"] == person and one["external_id"] and not one.get("deleted")
        ]
        return any(holds_for(asked, {"kind": "", "custom": one["properties"]}) for one in found)


def _is_cookieless(distinct_id: str) -> bool:
    return distinct_id.startswith("cookieless-")


def _covers(span: object, moment_ms: int) -> bool:
    if span is None:
        return True
    assert isinstance(span, TimeRange), "spans are resolved"
    return span.start_ms <= moment_ms < span.end_ms


def _compares(did: Did, times: int) -> bool:
    return {
        Comparison.AT_LEAST: times >= did.times,
        Comparison.AT_MOST: times <= did.times,
        Comparison.EXACTLY: times == did.times,
    }[did.comparison]
