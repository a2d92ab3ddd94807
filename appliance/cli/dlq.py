"""`dlq`: messages that could not be stored."""

import click

from appliance.base.errors import InvalidInputError
from appliance.cli.desk import at_desk
from appliance.cli.options import json_option, print_json, print_table, settings_options
from appliance.config.model import Settings
from appliance.services.deadletters import STREAMS

stream_option = click.option(
    "--stream", type=click.Choice(STREAMS), default="events", show_default=True, help="Which queue."
)


@click.group()
def dlq() -> None:
    """Messages that could not be stored: look at them, send them again."""


@dlq.command("list")
@stream_option
@json_option
@settings_options
def list_all(settings: Settings, *, stream: str, as_json: bool) -> None:
    """The dead letters, oldest first, at most a thousand."""
    letters = at_desk(settings, lambda services: services.dead_letters.list_letters(stream))
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
    letter = at_desk(settings, lambda services: services.dead_letters.load_letter(stream, sequence))
    text = letter.payload.decode(errors="backslashreplace")
    if as_json:
        print_json({"summary": letter.summary, "payload": text})
        return
    for name, value in letter.summary.headers.items():
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
    chosen = None if sequence is None else (sequence,)
    report = at_desk(settings, lambda services: services.dead_letters.replay(stream, chosen))
    if as_json:
        print_json(report)
    else:
        print(f"replayed {len(report.sequences)}")
