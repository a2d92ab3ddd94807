"""`dlq`: messages that could not be stored."""

import sys

import click
import msgspec

from appliance.base.errors import InvalidInputError
from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.desk import Desk
from appliance.storage.streams.deadletters import DeadLetterSummary

STREAMS = ("events", "profiles", "compliance", "misc")
stream_option = click.option(
    "--stream", type=click.Choice(STREAMS), default="events", show_default=True, help="Which queue."
)


class ShownLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter with its payload as text."""

    summary: DeadLetterSummary
    payload: str


@click.group()
def dlq() -> None:
    """Messages that could not be stored: look at them, send them again."""


@dlq.command("list")
@stream_option
@json_option
@settings_options
def list_all(settings: Settings, *, stream: str, as_json: bool) -> None:
    """The dead letters, oldest first, at most a thousand."""

    async def collect(desk: Desk) -> list[DeadLetterSummary]:
        return [letter async for letter in desk.dead_letters.summaries(stream)]

    letters = at_desk(settings, collect)
    if as_json:
        print_json(letters)
        return
    if not letters:
        print(f"no dead letters in {stream}")
        return
    print_table(
        ("SEQUENCE", "WHEN", "FROM", "BYTES", "REASON"),
        [
            (
                str(letter.sequence),
                letter.dead_at,
                letter.original_subject,
                str(letter.bytes),
                letter.reason,
            )
            for letter in letters
        ],
    )


@dlq.command()
@click.argument("sequence", type=click.IntRange(min=1))
@stream_option
@json_option
@settings_options
def show(settings: Settings, *, sequence: int, stream: str, as_json: bool) -> None:
    """One dead letter: its headers and its payload."""
    summary, payload = at_desk(settings, lambda desk: desk.dead_letters.load(stream, sequence))
    text = payload.decode(errors="backslashreplace")
    if as_json:
        print_json(ShownLetter(summary=summary, payload=text))
        return
    for name, value in summary.headers.items():
        print(f"{name}: {value}")
    print(f"\n{text}")


@dlq.command()
@click.argument("sequence", type=click.IntRange(min=1), required=False)
@click.option("--all", "every", is_flag=True, help="All of them.")
@stream_option
@json_option
@settings_options
def replay(
    settings: Settings, *, sequence: int | None, every: bool, stream: str, as_json: bool
) -> None:
    """Send one dead letter, or all, where it came from; what is stored already counts once."""
    if (sequence is None) is not every:
        raise InvalidInputError(
            "SEQUENCE_MISSING", "nothing to replay was named", hint="name SEQUENCE or --all"
        )

    async def replay_chosen(desk: Desk) -> int:
        chosen = (
            [letter.sequence async for letter in desk.dead_letters.summaries(stream)]
            if sequence is None
            else [sequence]
        )
        for number in chosen:
            subject = await desk.dead_letters.replay(stream, number)
            print(f"{number} went to {subject}", file=sys.stderr)
        return len(chosen)

    count = at_desk(settings, replay_chosen)
    if as_json:
        print_json({"replayed": count})
    else:
        print(f"replayed {count}")
