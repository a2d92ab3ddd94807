"""The registry of jobs, its manual, and months that may go."""

import re
from datetime import time, timedelta
from pathlib import Path

import pytest

from appliance.domain.schedule import Daily, Every, Schedule, Weekday, Weekly
from appliance.services.jobs.registry import JOBS, render_schedule

MANUAL = Path(__file__).parents[3] / "docs" / "jobs.md"


def test_every_job_is_in_the_manual() -> None:
    """One row for each, with its schedule, in the order of the registry."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", MANUAL.read_text(), flags=re.MULTILINE)
    told = {name: when.strip().replace("every hour", "every 1 h") for name, when in rows}
    assert list(told) == [job.name for job in JOBS]
    assert told == {job.name: render_schedule(job.schedule).removesuffix(" UTC") for job in JOBS}


def test_names() -> None:
    """Names are records' keys: unique, short, and without the mark of runs within jobs."""
    names = [job.name for job in JOBS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]{1,40}", name) for name in names)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Every(timedelta(minutes=15)), "every 15 min"),
        (Every(timedelta(hours=2)), "every 2 h"),
        (Daily(time(3, 30)), "daily 03:30 UTC"),
        (Weekly(Weekday.MONDAY, time(7), "Europe/Vienna"), "Monday 07:00 Europe/Vienna"),
    ],
)
def test_words(schedule: Schedule, words: str) -> None:
    assert render_schedule(schedule) == words
