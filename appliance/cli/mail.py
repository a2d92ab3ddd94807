"""`mail`: try the operator's mail provider, and look at the letters.

Invariant: `test` sends with the settings of this command, not with those a running worker has, so
that a change can be tried before a restart; `preview` sends nothing and loads nothing.
"""

import asyncio
from pathlib import Path
from typing import Final

import click
from msgspec import Struct

from appliance.base.clock import SystemClock
from appliance.base.errors import InvalidInputError
from appliance.base.files import write_atomic
from appliance.base.ids import IdMaker
from appliance.cli.options import json_option, print_json, settings_options
from appliance.config.model import Settings
from appliance.domain.mail.letters import Letterhead, Template, sample_letter
from appliance.domain.mail.names import parse_address
from appliance.services.links import dashboard_base_url

_PREVIEW_MODE: Final = 0o644
"""A letter with invented facts is no secret."""


class Sent(Struct, frozen=True, kw_only=True):
    """That a test mail was taken."""

    recipient: str
    sender: str
    provider: str
    answer: str


@click.group()
def mail() -> None:
    """Mail: try the provider, look at the letters."""


@mail.command()
@click.argument("recipient", metavar="TO")
@json_option
@settings_options
def test(settings: Settings, recipient: str, *, as_json: bool) -> None:
    """Send a test mail to the address TO by the operator's provider."""
    if parse_address(recipient) is None:
        raise InvalidInputError("INVALID_ARGUMENT", f"{recipient!r} is not an e-mail address")
    sent = asyncio.run(_send(settings, recipient))
    if as_json:
        print_json(sent)
        return
    print(f"{sent.provider} took the mail to {sent.recipient} (from {sent.sender})")
    if sent.answer:
        print(f"its answer: {sent.answer}")


@mail.command()
@click.argument("template", type=click.Choice([one.value for one in Template]))
@click.option("--text", is_flag=True, help="The plain text twin instead of HTML.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file.")
@settings_options
def preview(settings: Settings, template: str, *, text: bool, out: Path | None) -> None:
    """Show a letter with invented facts: HTML, or plain text."""
    head = Letterhead(logo_url=settings.email.logo_url)
    letter = sample_letter(Template(template), head, base_url=dashboard_base_url(settings))
    content = letter.text if text else letter.html
    if out is None:
        print(content, end="")
        return
    write_atomic(out, content.encode(), mode=_PREVIEW_MODE)


async def _send(settings: Settings, recipient: str) -> Sent:
    # Only now, because looking at letters needs no mail library.
    from appliance.services.mail.desk import send_operator_test  # noqa: PLC0415

    clock = SystemClock()
    key = f"test-{IdMaker(clock).make()}"
    receipt = await send_operator_test(settings.email, clock, recipient, key)
    return Sent(
        recipient=recipient,
        sender=settings.email.sender,
        provider=receipt.provider,
        answer=receipt.message_id,
    )
