"""Who comes to the demo's shop when: four months at once, or one visitor after another.

Invariant: the same end and number give the same visits; none has an event after the end. People
come only after their first visit, which comes when they join, and not after they have gone.
"""

import random  # noqa: TID251 repeatable; nothing secret comes from it
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import accumulate
from typing import Final

from msgspec.structs import replace

from appliance.domain.shop.devices import DAY_MS
from appliance.domain.shop.rhythm import day_weight, start_within, suits
from appliance.domain.shop.shoppers import SHOPPERS, Shopper, shopper
from appliance.domain.shop.steps import Memory
from appliance.domain.shop.visits import Visit, bot_visit, visit_of

BACKFILL_DAYS: Final = 120
"""Four months [workers 6.3]."""
BOT_SHARE: Final = 0.025
EVENTS_A_VISIT: Final = 6.5
"""A first guess; how many really came decides about the next day."""
TRIES_MAX: Final = 24
MORE_VISITS_MAX: Final = 100_000
"""Visits beyond the plan, until there are as many events as asked for."""


class Crowd:
    """The first `people` of all shoppers, and what they left behind."""

    def __init__(self, people: int = SHOPPERS) -> None:
        self.people = min(max(people, 1), SHOPPERS)
        self.memory = Memory()

    def tell(self, end: datetime, events: int) -> Iterator[Visit]:
        """At least so many events of the four months up to `end`, day by day.

        Fewer only if hardly anybody is around.
        """
        end_ms = _milliseconds(end)
        days = [end.date() - timedelta(days=back) for back in range(BACKFILL_DAYS, -1, -1)]
        shares = list(accumulate(_share(day, end) for day in days))
        dice = random.Random(f"crowd/{end_ms}")  # noqa: S311 a story, not a secret
        told = visits = 0
        for day, share in zip(days, shares, strict=True):
            from_ms = _midnight_ms(day)
            chosen = [
                self._first(who) for who in self._joining(from_ms, min(from_ms + DAY_MS, end_ms))
            ]
            missing = events * share / shares[-1] - told
            missing -= sum(len(one.events) for one in chosen)
            rate = told / visits if visits else EVENTS_A_VISIT
            plans = sorted(self._plans(dice, day, max(0, round(missing / rate))))
            for one in _cut([*chosen, *map(self._planned, plans)], end_ms):
                told, visits = told + len(one.events), visits + 1
                yield one
        for _ in range(MORE_VISITS_MAX):
            if told >= events:
                return
            (day,) = dice.choices(days, cum_weights=shares)
            for one in _cut(map(self._planned, self._plans(dice, day, 1)), end_ms):
                told += len(one.events)
                yield one

    def visit(self, name: str, at_ms: int) -> Visit | None:
        """Somebody who is around comes at an instant; None when nobody is."""
        dice = random.Random(f"crowd/{name}")  # noqa: S311 a story, not a secret
        people, shares = _around(at_ms // DAY_MS, self.people)
        if not people:
            return None
        for _ in range(TRIES_MAX):
            who = shopper(dice.choices(people, cum_weights=shares)[0])
            device = dice.choice(who.devices)
            if who.is_around(at_ms) and suits(at_ms, device.kind, who.city, dice):
                return visit_of(who, device, name, at_ms, self.memory, is_first=False)
        return None

    def newcomers(self, from_ms: int, until_ms: int) -> Iterator[Visit]:
        """The first visits that begin in a half-open span."""
        return map(self._first, self._joining(from_ms, until_ms))

    def _joining(self, from_ms: int, until_ms: int) -> Iterator[Shopper]:
        beginnings = _beginnings()
        index = bisect_left(beginnings, (from_ms, 0))
        while index < len(beginnings) and beginnings[index][0] < until_ms:
            if beginnings[index][1] < self.people:
                yield shopper(beginnings[index][1])
            index += 1

    def _first(self, who: Shopper) -> Visit:
        name = f"first/{who.number}"
        return visit_of(who, who.devices[0], name, who.first_ms, self.memory, is_first=True)

    def _plans(self, dice: random.Random, day: date, number: int) -> Iterator["_Plan"]:
        """Who comes when on a day; fewer than asked for where somebody is not around then."""
        people, shares = _around(_midnight_ms(day) // DAY_MS, self.people)
        for _ in range(number):
            seed = dice.getrandbits(62)
            if dice.random() < BOT_SHARE or not people:
                yield _midnight_ms(day) + dice.randrange(DAY_MS), seed, _BOT, 0
                continue
            who = shopper(dice.choices(people, cum_weights=shares)[0])
            index = dice.randrange(len(who.devices))
            start_ms = start_within(day, who.devices[index].kind, who.city, dice)
            if who.is_around(start_ms):
                yield start_ms, seed, who.number, index

    def _planned(self, plan: "_Plan") -> Visit:
        start_ms, seed, number, index = plan
        name = f"{seed:x}"
        if number == _BOT:
            return bot_visit(name, start_ms)
        who = shopper(number)
        return visit_of(who, who.devices[index], name, start_ms, self.memory, is_first=False)


_Plan = tuple[int, int, int, int]
"""When it begins, its name, whose it is, and with which device."""
_BOT: Final = -1


def _cut(visits: Iterable[Visit], end_ms: int) -> Iterator[Visit]:
    """The visits without what lies after the end."""
    for visit in visits:
        events = tuple(one for one in visit.events if (one.occur_time_ms or 0) <= end_ms)
        if events:
            yield replace(visit, events=events)


def _share(day: date, end: datetime) -> float:
    """How much of all traffic belongs to a day; the last one is not over."""
    weight = day_weight(day)
    return weight if day != end.date() else weight * max(end.hour, 1) / 24


@lru_cache(maxsize=2)
def _around(day: int, size: int) -> tuple[list[int], list[float]]:
    """Who may come on a day, counted from 1970, and how eager they are, added up."""
    noon_ms = day * DAY_MS + DAY_MS // 2
    people = [number for number in range(size) if shopper(number).is_around(noon_ms)]
    return people, list(accumulate(shopper(number).activity for number in people))


@cache
def _beginnings() -> list[tuple[int, int]]:
    return sorted((shopper(number).first_ms, number) for number in range(SHOPPERS))


def _midnight_ms(day: date) -> int:
    return _milliseconds(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
