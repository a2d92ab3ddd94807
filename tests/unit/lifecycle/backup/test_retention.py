"""Which backups are kept."""

import msgspec

from appliance.lifecycle.backup.retention import plan_prune
from tests.unit.lifecycle.backup.test_pool import summary


def backups(*points: str) -> list:
    return [msgspec.structs.replace(summary(point), point=f"{point}:00+00:00") for point in points]


def test_the_newest_of_each_day_stays() -> None:
    made = backups("2026-11-19T02:00", "2026-11-20T02:00", "2026-11-20T14:00", "2026-11-21T02:00")
    assert plan_prune(made, days=30) == ("2026-11-20T02:00",)
    assert plan_prune(made, days=1) == (
        "2026-11-19T02:00",
        "2026-11-20T02:00",
        "2026-11-20T14:00",
    )


def test_days_without_a_backup_do_not_count() -> None:
    """A machine that was off for a month keeps its old backups."""
    made = backups("2026-09-01T02:00", "2026-11-21T02:00")
    assert plan_prune(made, days=2) == ()


def test_the_very_newest_always_stays() -> None:
    assert plan_prune(backups("2026-11-21T02:00"), days=1) == ()
    assert plan_prune([], days=1) == ()
