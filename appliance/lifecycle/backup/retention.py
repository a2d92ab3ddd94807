"""Which backups are kept.

Invariant: the newest backup of each of the newest days stays, and the very newest always; a backup
that cannot be read is never removed by itself. Pure.
"""

from collections.abc import Sequence

from appliance.lifecycle.backup.model import Summary

_DATE_CHARACTERS = len("2026-03-04")


def plan_prune(summaries: Sequence[Summary], *, days: int) -> tuple[str, ...]:
    """The backups to remove so that the newest one of each of the newest `days` days is left."""
    newest: dict[str, str] = {}
    for summary in sorted(summaries, key=lambda one: (one.point, one.id)):
        newest[summary.point[:_DATE_CHARACTERS]] = summary.id
    kept = {newest[day] for day in sorted(newest)[-days:]}
    return tuple(one.id for one in summaries if one.id not in kept)
