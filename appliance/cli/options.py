"""Options that many commands share.

Invariant: settings are read here and nowhere else; a command receives the finished `Settings`.
"""

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

import click
import msgspec

from appliance.config.load import load_settings
from appliance.config.model import Settings
from appliance.config.sources import process_environment

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags of a command say about where settings come from."""

    config_file: Path | None
    flags: dict[str, str]


def sources_options(
    command: Callable[Concatenate[Sources, Parameters], Result],
) -> Callable[Parameters, Result]:
    """Give a command `--config`, `--data-dir` and `--set`, and hand it their `Sources`."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file (TOML).",
    )
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder for everything the appliance writes.",
    )
    @click.option(
        "--set",
        "assignments",
        metavar="KEY=VALUE",
        multiple=True,
        help="Set one key, like api.port=9000. May be repeated.",
    )
    @wraps(command)
    def with_sources(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        config_file = kwargs.pop("config_file")
        data_dir = kwargs.pop("data_dir")
        assignments = kwargs.pop("assignments")
        assert config_file is None or isinstance(config_file, Path)
        assert isinstance(assignments, tuple)
        flags = dict(map(_parse_assignment, cast("tuple[str, ...]", assignments)))
        if data_dir is not None:
            flags["data_dir"] = str(data_dir)
        return command(Sources(config_file=config_file, flags=flags), *args, **kwargs)

    return with_sources


def settings_options(
    command: Callable[Concatenate[Settings, Parameters], Result],
) -> Callable[Parameters, Result]:
    """Give a command `--config`, `--data-dir` and `--set`, and hand it the finished settings."""

    @sources_options
    @wraps(command)
    def with_settings(
        sources: Sources, *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        return command(read_settings(sources), *args, **kwargs)

    return with_settings


def read_settings(sources: Sources) -> Settings:
    """The settings of this process; raises MisconfiguredError with every problem."""
    return load_settings(
        config_file=sources.config_file,
        environment=process_environment(),
        flags=sources.flags,
    )


def log_level(settings: Settings) -> int:
    """The standard library's number of the configured level."""
    return logging.getLevelNamesMapping()[settings.logs.level.upper()]


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: object) -> None:
    """Print a Struct or plain value as one line of JSON."""
    print(msgspec.json.encode(value).decode())


def print_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows under headings, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _parse_assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set {text!r} is not KEY=VALUE, like api.port=9000")
    return key, value
