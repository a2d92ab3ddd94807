"""What is kept, for how long, and how much of it."""

from msgspec.structs import replace

from appliance.domain.insights.spec import Granularity, InsightSpec, TimeRange, Trends
from appliance.services.kept_answers import (
    ANSWER_BYTES_MAX,
    ENTRY_BYTES,
    KEPT_SECONDS,
    KeptAnswers,
    name_question,
)
from tests.support.clocks import FixedClock

SPEC = InsightSpec(
    question=Trends(), range=TimeRange(start_ms=0, end_ms=1000), granularity=Granularity.DAY
)
ASKED = name_question("p", SPEC, 7)


def test_an_answer_is_found_until_its_minute_is_over() -> None:
    clock = FixedClock()
    kept = KeptAnswers(clock)
    kept.keep(ASKED, b"answer")

    clock.advance(KEPT_SECONDS - 1)
    assert kept.find(ASKED) == b"answer"
    clock.advance(1)
    assert kept.find(ASKED) is None
    assert kept.bytes_held == 0


def test_whatever_changes_an_answer_is_another_question() -> None:
    others = [
        name_question("q", SPEC, 7),
        name_question("p", SPEC, 8),
        name_question("p", replace(SPEC, zone="Europe/Vienna"), 7),
        name_question("p", replace(SPEC, include_cookieless=True), 7),
        name_question("p", replace(SPEC, range=TimeRange(start_ms=0, end_ms=1001)), 7),
    ]
    assert len({ASKED, *others}) == 6
    assert name_question("p", replace(SPEC), 7) == ASKED


def test_bytes_are_bounded_and_the_oldest_use_goes_first() -> None:
    one = 100 + ENTRY_BYTES
    kept = KeptAnswers(FixedClock(), bytes_max=3 * one)
    names = [name_question("p", SPEC, version) for version in range(4)]
    for name in names[:3]:
        kept.keep(name, b"x" * 100)
    assert kept.find(names[0]) is not None

    kept.keep(names[3], b"x" * 100)
    assert [kept.find(name) is not None for name in names] == [True, False, True, True]
    assert kept.bytes_held == 3 * one


def test_an_answer_that_is_too_long_is_not_kept() -> None:
    kept = KeptAnswers(FixedClock())
    kept.keep(ASKED, b"x" * (ANSWER_BYTES_MAX + 1))
    assert kept.find(ASKED) is None
    assert kept.bytes_held == 0


def test_a_newer_answer_replaces_the_older_one() -> None:
    kept = KeptAnswers(FixedClock())
    kept.keep(ASKED, b"older")
    kept.keep(ASKED, b"new")
    assert kept.find(ASKED) == b"new"
    assert kept.bytes_held == 3 + ENTRY_BYTES
