"""Which backups are kept."""

import msgspec

from appliance.lifecycle.backup.retention import DaysSeen, plan_prune
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


def made_in_order(*points: str) -> list:
    """Backups as a target lists them that were made one after the other."""
    return [
        msgspec.structs.replace(one, sequence=number)
        for number, one in enumerate(backups(*points), start=1)
    ]


def test_what_was_made_by_a_clock_of_the_future_does_not_push_out_what_is_made_now() -> None:
    """A month of backups in 2033, then the clock was set right."""
    future = [f"2033-01-{day:02}T02:00" for day in range(1, 31)]
    made = made_in_order(*future, "2026-11-21T02:00", "2026-11-22T02:00")
    assert plan_prune(made, days=30) == ("2033-01-01T02:00", "2033-01-02T02:00")
    assert plan_prune(made, days=1) == (*future, "2026-11-21T02:00")


def test_what_is_made_by_a_clock_of_the_past_is_the_newest() -> None:
    """The battery is empty: the machine thinks it is 2019, the backup of now stays."""
    before = [f"2026-11-{day:02}T02:00" for day in range(1, 31)]
    made = made_in_order(*before, "2019-03-01T02:00")
    assert plan_prune(made, days=30) == ("2026-11-01T02:00",)


def test_a_date_that_comes_again_is_another_day() -> None:
    """After each start the clock begins at the same date: nobody knows how long that took."""
    made = made_in_order("2019-03-01T02:00", "2019-03-01T01:00", "2019-03-01T03:00")
    assert plan_prune(made, days=30) == ("2019-03-01T01:00",)


def test_a_jump_of_years_is_one_day_of_looking() -> None:
    """Restore points go after days on which somebody looked, not after years of a clock."""
    seen = DaysSeen().look("2026-11-21", ["one"]).look("2026-11-21", ["one"])
    assert seen.days("one") == 0
    seen = seen.look("2033-11-21", ["one", "two"]).look("2033-11-22", ["one", "two"])
    assert (seen.days("one"), seen.days("two")) == (2, 1)
    assert seen.look("2033-11-23", ["two"]).since == {"two": 2}
