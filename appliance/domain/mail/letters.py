"""The letters: which there are, what each must say, and how they are rendered.

Invariant: every letter exists twice, as HTML and as hand-written plain text with the link on a line
of its own; whatever people typed is cleaned and escaped, and nothing is loaded from elsewhere but a
picture that the operator named [workers 4.5]. The words are in `templates/`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape
from msgspec import Struct

from appliance.domain.mail.names import clean_name

PRODUCT: Final = "Pug Appliance"
INVITATION_DAYS: Final = 7
_FOLDER: Final = "templates"
_SUFFIXES: Final = (".html", ".txt")


class Template(StrEnum):
    """The letters [workers 4.5]; the value is the name of their files and on the command line."""

    MAGIC_LINK = "magic_link"
    INVITE = "invite"
    PROVIDER_TEST = "provider_test"
    ALERT = "alert"


class Letter(Struct, frozen=True, kw_only=True):
    """What a mail says."""

    subject: str
    text: str
    html: str


class Letterhead(Struct, frozen=True, kw_only=True):
    """What all letters of an installation share; without a logo the product's name stands there."""

    logo_url: str = ""


def magic_link_letter(head: Letterhead, *, link: str) -> Letter:
    """The letter with a sign-in link."""
    return _render(Template.MAGIC_LINK, head, f"Your sign-in link for {PRODUCT}", {"link": link})


def invite_letter(head: Letterhead, *, link: str, org_name: str, inviter_name: str) -> Letter:
    """The letter that invites into an organisation; `inviter_name` may be empty."""
    org = clean_name(org_name) or "an organisation"
    inviter = clean_name(inviter_name)
    subject = f"{inviter} invites you to {org}" if inviter else f"You are invited to {org}"
    facts = {"link": link, "org_name": org, "inviter_name": inviter, "days": str(INVITATION_DAYS)}
    return _render(Template.INVITE, head, subject, facts)


def provider_test_letter(head: Letterhead, *, sender: str, org_name: str = "") -> Letter:
    """The letter that shows that a provider works; `org_name` is empty for the operator's."""
    facts = {"sender": sender, "org_name": clean_name(org_name)}
    return _render(Template.PROVIDER_TEST, head, f"{PRODUCT}: test message", facts)


def alert_letter(
    head: Letterhead,
    *,
    heading: str,
    told: str,
    facts: Sequence[tuple[str, str]],
    project_name: str,
    link: str,
) -> Letter:
    """The letter about an alert; `facts` are pairs of a label and a text, told in this order."""
    values: dict[str, object] = {
        "heading": clean_name(heading),
        "told": told,
        "facts": [(label, clean_name(fact)) for label, fact in facts],
        "project_name": clean_name(project_name) or "a project",
        "link": link,
    }
    return _render(Template.ALERT, head, clean_name(heading), values)


def sample_letter(template: Template, head: Letterhead, *, base_url: str) -> Letter:
    """A letter with invented facts, to look at."""
    link = f"{base_url.rstrip('/')}/magic-link?token=example-token"
    match template:
        case Template.MAGIC_LINK:
            return magic_link_letter(head, link=link)
        case Template.INVITE:
            return invite_letter(
                head, link=link, org_name="Lighthouse Bakery", inviter_name="Mina Okafor"
            )
        case Template.PROVIDER_TEST:
            return provider_test_letter(head, sender="pug@example.com")
        case Template.ALERT:
            return alert_letter(
                head,
                heading="Alert: fewer orders",
                told="The condition of this alert holds.",
                facts=(("Project", "Shop"), ("Value", "12")),
                project_name="Shop",
                link=base_url.rstrip("/"),
            )


def _render(
    template: Template, head: Letterhead, subject: str, facts: Mapping[str, object]
) -> Letter:
    values = {**facts, "product": PRODUCT, "subject": subject, "logo_url": head.logo_url}
    environment = _environment()
    return Letter(
        subject=" ".join(subject.split()),
        text=environment.get_template(f"{template}.txt").render(values),
        html=environment.get_template(f"{template}.html").render(values),
    )


@cache
def _environment() -> Environment:
    folder = files("appliance.domain.mail").joinpath(_FOLDER)
    sources = {
        one.name: one.read_text(encoding="utf-8")
        for one in folder.iterdir()
        if one.name.endswith(_SUFFIXES)
    }
    return Environment(
        loader=DictLoader(sources),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
