"""Which backups are kept.

Invariant: the newest backup of each of the newest days stays, and the very newest always; a backup
that cannot be read is never removed by itself. New and old is the order in which backups were made:
a clock that was wrong for a while makes no backup older than it is. Pure.
"""

from collections.abc import Sequence

import msgspec

from appliance.lifecycle.backup.model import Summary

_DATE_CHARACTERS = len("2026-03-04")


def plan_prune(summaries: Sequence[Summary], *, days: int) -> tuple[str, ...]:
    """The backups to remove so that the newest one of each of the newest `days` days is left."""
    newest_first = sorted(summaries, key=lambda one: one.order, reverse=True)
    lasts = [
        one
        for one, later in zip(newest_first, (None, *newest_first), strict=False)
        if later is None or not _same_day(one, later)
    ]
    kept = {one.id for one in lasts[:days]}
    return tuple(one.id for one in summaries if one.id not in kept)


def _same_day(one: Summary, later: Summary) -> bool:
    """Whether one day made both; where the clock went back in between, nobody knows."""
    same_date = one.point[:_DATE_CHARACTERS] == later.point[:_DATE_CHARACTERS]
    return same_date and one.point <= later.point


class DaysSeen(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days things have been there: counted, because a clock can jump by years.

    `count` is the number of days on which somebody looked, `last` the date of the last one, and
    `since` what the count was when each thing was seen first.
    """

    last: str = ""
    count: int = 0
    since: dict[str, int] = {}

    def look(self, date: str, names: Sequence[str]) -> "DaysSeen":
        """What is known after a look at the things that are there on this date."""
        count = self.count + (date != self.last)
        return DaysSeen(
            last=date, count=count, since={name: self.since.get(name, count) for name in names}
        )

    def days(self, name: str) -> int:
        """For how many days a thing has been there."""
        return self.count - self.since.get(name, self.count)
