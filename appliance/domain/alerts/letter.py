"""What a mail about a firing says.

Invariant: pure; times are told in UTC and named so. The form is that of every letter
(`domain/mail/letters.py`).
"""

from datetime import datetime
from typing import Final

from appliance.domain.alerts.condition import Act, describe
from appliance.domain.alerts.messages import Told, describe_numbers
from appliance.domain.mail.letters import Letter, Letterhead, alert_letter

_HEADINGS: Final = {Act.FIRED: "Alert", Act.RESOLVED: "Over", Act.TEST: "Test"}
_SENTENCES: Final = {
    Act.FIRED: "The condition of this alert holds. You will be told again when it is over.",
    Act.RESOLVED: "The condition of this alert does not hold any more.",
    Act.TEST: "This is a test that somebody asked for. Nothing has happened.",
}


def write_letter(told: Told, head: Letterhead, *, link: str) -> Letter:
    """The letter about a message."""
    facts = [
        ("Project", told.project_name),
        ("Condition", describe(told.condition)),
        ("Value", describe_numbers(told)),
        ("Time", f"{_moment(told.numbers.window_start)} to {_moment(told.numbers.window_end)} UTC"),
    ]
    if told.act is Act.RESOLVED:
        facts.append(("Since", f"{_moment(told.started_at)} UTC"))
    return alert_letter(
        head,
        heading=f"{_HEADINGS[told.act]}: {told.alert_name}",
        told=_SENTENCES[told.act],
        facts=facts,
        project_name=told.project_name,
        link=link,
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
