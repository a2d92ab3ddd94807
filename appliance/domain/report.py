"""The weekly report of a project: its numbers, and the letter that tells them.

Invariant: pure. Every number stands beside that of the week before; what people typed is escaped in
the HTML and cleaned of control characters in the text. Where the numbers come from:
`storage/clickhouse/report.py`.
"""

from datetime import date, timedelta
from html import escape
from typing import Final

from msgspec import Struct

from appliance.domain.mail.letters import PRODUCT, Letter
from appliance.domain.mail.names import clean_name

_PERCENT: Final = 100


class Measure(Struct, frozen=True, kw_only=True):
    """A number of the week, and the same of the week before."""

    week: int
    before: int


class Ranked(Struct, frozen=True, kw_only=True):
    """A value and how often it came."""

    name: str
    count: int


class WeekNumbers(Struct, frozen=True, kw_only=True):
    """What happened in a week."""

    events: Measure
    people: Measure
    sessions: Measure
    page_views: Measure
    pages: tuple[Ranked, ...] = ()
    sources: tuple[Ranked, ...] = ()


class WeekReport(Struct, frozen=True, kw_only=True):
    """The report of one project; `monday` is the first day of the week in the project's zone."""

    project_name: str
    monday: date
    zone: str
    numbers: WeekNumbers
    dashboard_url: str


def report_letter(report: WeekReport) -> Letter:
    """The mail that subscribers get."""
    name = clean_name(report.project_name) or "your project"
    sunday = report.monday + timedelta(days=6)
    span = f"{report.monday:%Y-%m-%d} to {sunday:%Y-%m-%d} ({report.zone or 'UTC'})"
    return Letter(
        subject=f"{name}: week of {report.monday:%Y-%m-%d}",
        text=_text(name, span, report),
        html=_html(name, span, report),
    )


def change_of(measure: Measure) -> str:
    """The change against the week before in words, such as `+12 %`."""
    if measure.before == 0:
        return "new" if measure.week else "as before"
    percent = round((measure.week - measure.before) * _PERCENT / measure.before)
    return f"{percent:+d} %" if percent else "as before"


def _measures(numbers: WeekNumbers) -> tuple[tuple[str, Measure], ...]:
    return (
        ("People", numbers.people),
        ("Sessions", numbers.sessions),
        ("Page views", numbers.page_views),
        ("Events", numbers.events),
    )


def _lists(numbers: WeekNumbers) -> tuple[tuple[str, tuple[Ranked, ...]], ...]:
    return (("Most viewed pages", numbers.pages), ("Where people came from", numbers.sources))


def _text(name: str, span: str, report: WeekReport) -> str:
    lines = [f"{name}, {span}", ""]
    lines.extend(
        f"{title}: {measure.week} ({change_of(measure)})"
        for title, measure in _measures(report.numbers)
    )
    for title, ranked in _lists(report.numbers):
        if ranked:
            lines.extend(("", f"{title}:"))
            lines.extend(f"  {one.count}  {clean_name(one.name)}" for one in ranked)
    lines.extend(("", report.dashboard_url, "", _why()))
    return "\n".join(lines) + "\n"


def _html(name: str, span: str, report: WeekReport) -> str:
    rows = "".join(
        f"<tr><td>{title}</td><td align='right'>{measure.week}</td>"
        f"<td align='right'>{change_of(measure)}</td></tr>"
        for title, measure in _measures(report.numbers)
    )
    lists = "".join(
        f"<h2 style='font-size:16px'>{title}</h2><ol>"
        + "".join(f"<li>{escape(clean_name(one.name))} ({one.count})</li>" for one in ranked)
        + "</ol>"
        for title, ranked in _lists(report.numbers)
        if ranked
    )
    url = escape(report.dashboard_url)
    return (
        "<!doctype html><html><body style='font-family:sans-serif;font-size:15px'>"
        f"<h1 style='font-size:20px'>{escape(name)}</h1><p>{escape(span)}</p>"
        f"<table cellpadding='4'>{rows}</table>{lists}"
        f"<p><a href='{url}'>{url}</a></p><p style='color:#666'>{escape(_why())}</p>"
        "</body></html>"
    )


def _why() -> str:
    return (
        f"You get this because you subscribed to the weekly report in {PRODUCT}. "
        "An administrator ends it with: pug-appliance report unsubscribe"
    )
