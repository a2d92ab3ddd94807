"""The letter of the weekly report."""

from datetime import date

import pytest

from appliance.domain.report import (
    Measure,
    Ranked,
    WeekNumbers,
    WeekReport,
    change_of,
    report_letter,
)


@pytest.mark.parametrize(
    ("week", "before", "words"),
    [
        (12, 10, "+20 %"),
        (5, 10, "-50 %"),
        (0, 10, "-100 %"),
        (1000, 1001, "as before"),
        (0, 0, "as before"),
        (3, 0, "new"),
    ],
)
def test_change(week: int, before: int, words: str) -> None:
    assert change_of(Measure(week=week, before=before)) == words


def report(name: str, *pages: str) -> WeekReport:
    same = Measure(week=1, before=1)
    return WeekReport(
        project_name=name,
        monday=date(2026, 5, 4),
        zone="",
        numbers=WeekNumbers(
            events=same,
            people=same,
            sessions=same,
            page_views=same,
            pages=tuple(Ranked(name=page, count=1) for page in pages),
        ),
        dashboard_url="http://pug.test/?a=1&b='2'",
    )


def test_what_people_typed() -> None:
    """Names and paths cannot become markup, header lines or lines of their own."""
    letter = report_letter(report("<i>Shop\r\nBcc: x</i>", "/<script>", "/a\nb"))
    assert "\n" not in letter.subject
    assert "\r" not in letter.subject
    assert "<i>" not in letter.html
    assert "<script>" not in letter.html
    assert "href='http://pug.test/?a=1&amp;b=&#x27;2&#x27;'" in letter.html
    assert "\nBcc" not in letter.text
    assert "\nb" not in letter.text


def test_empty() -> None:
    """A week without anything, of a project whose name is nothing, still says so."""
    letter = report_letter(report("\x00"))
    assert letter.subject == "your project: week of 2026-05-04"
    assert "2026-05-04 to 2026-05-10 (UTC)" in letter.text
    assert "Most viewed pages" not in letter.text
