"""Due times, catch-up and time zones."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.schedule import (
    RETRY_SECONDS_MAX,
    Daily,
    Every,
    LastRun,
    Outcome,
    PlannedRun,
    Schedule,
    Weekday,
    Weekly,
    count_missed,
    find_zone,
    newest_due,
    next_due,
    plan_run,
    retry_seconds,
    start_of_day,
    week_before,
)

ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("Pacific/Apia", "Pacific/Kiritimati", "America/St_Johns", "Africa/Casablanca"),
)
instants = st.datetimes(
    min_value=datetime(2001, 1, 1),  # noqa: DTZ001 the strategy adds the zone
    max_value=datetime(2037, 1, 1),  # noqa: DTZ001 the strategy adds the zone
    timezones=st.just(UTC),
)
times = st.times(min_value=time(0), max_value=time(23, 59)).map(lambda at: at.replace(fold=0))
schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(Every, st.timedeltas(timedelta(seconds=1), timedelta(days=40))),
    st.builds(Daily, times, st.sampled_from(ZONES)),
    st.builds(Weekly, st.sampled_from(Weekday), times, st.sampled_from(ZONES)),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(schedules, instants)
def test_neighbours(schedule: Schedule, now: datetime) -> None:
    """The newest due time is not after now, the next one is, and nothing lies between."""
    before, after = newest_due(schedule, now), next_due(schedule, now)
    assert before <= now < after
    assert next_due(schedule, before) == after
    assert newest_due(schedule, after) == after
    assert newest_due(schedule, after - timedelta(microseconds=1)) == before


@given(schedules, instants, instants)
def test_order(schedule: Schedule, one: datetime, other: datetime) -> None:
    """Due times grow with the question, whoever asks and whenever."""
    first, second = sorted((one, other))
    assert newest_due(schedule, first) <= newest_due(schedule, second)
    assert next_due(schedule, first) <= next_due(schedule, second)


@given(st.sampled_from(ZONES), times, instants)
def test_local_time(zone: str, moment: time, now: datetime) -> None:
    """A daily job is due at its local time, or behind the gap that swallowed it."""
    due = newest_due(Daily(moment, zone), now)
    local = due.astimezone(ZoneInfo(zone))
    wall = datetime.combine(local.date(), moment, tzinfo=ZoneInfo(zone))
    gap = wall.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall.replace(
        tzinfo=None
    )
    assert gap or local.time() == moment


@given(st.sampled_from(ZONES), times, instants)
def test_days_apart(zone: str, moment: time, now: datetime) -> None:
    """Two daily runs are about a day apart, also across the date line and changes of clocks."""
    due = newest_due(Daily(moment, zone), now)
    assert timedelta(hours=22) <= next_due(Daily(moment, zone), due) - due <= timedelta(hours=26)


@given(schedules, instants, instants)
def test_catch_up(schedule: Schedule, one: datetime, other: datetime) -> None:
    """However long nobody ran, one run makes it good, and then nothing is due."""
    first, now = sorted((one, other))
    last = LastRun(due_at=newest_due(schedule, first), outcome=Outcome.OK, ended_at=first)
    planned = plan_run(schedule, last, now)
    if planned is None:
        assert newest_due(schedule, now) == last.due_at
        return
    assert planned.due_at == newest_due(schedule, now) > last.due_at
    done = LastRun(due_at=planned.due_at, outcome=Outcome.OK, ended_at=now)
    assert plan_run(schedule, done, now) is None


@given(instants, st.integers(1, 400), st.integers(1, 5000))
def test_missed_of_a_period(start: datetime, period: int, count: int) -> None:
    """The number of missed runs is the number of due times that were passed over."""
    schedule = Every(timedelta(seconds=period))
    done = newest_due(schedule, start)
    due = done + count * schedule.period
    assert count_missed(schedule, done, due) == count - 1


@given(st.sampled_from(ZONES), times, instants, st.integers(1, 30))
def test_missed_days(zone: str, moment: time, start: datetime, count: int) -> None:
    """The same for days; the day that Samoa left out may be counted."""
    schedule = Daily(moment, zone)
    done = due = newest_due(schedule, start)
    for _ in range(count):
        due = next_due(schedule, due)
    assert 0 <= count_missed(schedule, done, due) - (count - 1) <= 1


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        (Every(timedelta(hours=1)), "2026-05-10T09:30", "2026-05-10T10:00"),
        (Every(timedelta(days=7)), "2026-05-10T09:30", "2026-05-11T00:00"),
        (Daily(time(3, 30)), "2026-05-10T03:30", "2026-05-11T03:30"),
        # clocks go forward at 02:00 local
        (Daily(time(2, 30), "Europe/Berlin"), "2026-03-28T12:00", "2026-03-29T01:30"),
        # clocks go back at 03:00 local: the first 02:30 counts, once
        (Daily(time(2, 30), "Europe/Berlin"), "2026-10-24T12:00", "2026-10-25T00:30"),
        (Daily(time(2, 30), "Europe/Berlin"), "2026-10-25T00:30", "2026-10-26T01:30"),
        (Weekly(Weekday.MONDAY, time(7), "Asia/Kathmandu"), "2026-05-11T01:15", "2026-05-18T01:15"),
    ],
)
def test_next_due(schedule: Schedule, now: str, due: str) -> None:
    assert next_due(schedule, at(now)) == at(due)


def test_first_run() -> None:
    """A job nobody has run yet is due at once."""
    assert plan_run(Daily(time(3)), None, at("2026-05-10T09:30")) == PlannedRun(
        due_at=at("2026-05-10T03:00")
    )


def test_running() -> None:
    """What runs is left alone, although the next due time has come."""
    last = LastRun(due_at=at("2026-05-10T03:00"), outcome=Outcome.RUNNING, ended_at=None)
    assert plan_run(Daily(time(3)), last, at("2026-05-12T09:30")) is None


def test_failed_runs_are_repeated() -> None:
    """After a pause that grows, with the due time they were for."""
    ended = at("2026-05-10T03:01")
    last = LastRun(
        due_at=at("2026-05-10T03:00"), outcome=Outcome.FAILED, ended_at=ended, failures=3
    )
    assert retry_seconds(3) == 240
    assert plan_run(Daily(time(3)), last, ended + timedelta(seconds=239)) is None
    again = plan_run(Daily(time(3)), last, ended + timedelta(seconds=240))
    assert again == PlannedRun(due_at=last.due_at)


@given(st.integers(0, 10_000))
def test_retry_is_bounded(failures: int) -> None:
    assert 60 <= retry_seconds(failures) <= retry_seconds(failures + 1) <= RETRY_SECONDS_MAX


def test_clock_was_wrong() -> None:
    """A due time written while the clock was years ahead does not silence a job for years; one that
    is a little ahead does not make it run twice."""
    now = at("2026-05-10T09:30")
    wrong = LastRun(due_at=at("2099-01-01T03:00"), outcome=Outcome.OK, ended_at=now)
    assert plan_run(Daily(time(3)), wrong, now) == PlannedRun(due_at=at("2026-05-10T03:00"))
    ahead = LastRun(due_at=at("2026-05-11T03:00"), outcome=Outcome.OK, ended_at=now)
    assert plan_run(Daily(time(3)), ahead, now) is None


@pytest.mark.parametrize(
    ("due", "zone", "start", "end"),
    [
        ("2026-05-11T07:00", "UTC", "2026-05-04T00:00", "2026-05-11T00:00"),
        # a week with 167 hours
        ("2026-03-30T05:00", "Europe/Berlin", "2026-03-22T23:00", "2026-03-29T22:00"),
        ("2026-05-11T01:15", "Asia/Kathmandu", "2026-05-03T18:15", "2026-05-10T18:15"),
        ("2026-05-11T07:00", "Nowhere/Else", "2026-05-04T00:00", "2026-05-11T00:00"),
    ],
)
def test_week_before(due: str, zone: str, start: str, end: str) -> None:
    assert week_before(at(due), zone) == (at(start), at(end))


def test_days_and_zones() -> None:
    assert start_of_day(at("2026-05-11T07:00")) == at("2026-05-11T00:00")
    assert find_zone("").key == "UTC"
    assert find_zone("../etc/passwd").key == "UTC"
