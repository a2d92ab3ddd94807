"""`config`: show and check the settings."""

import click

from appliance.base.errors import MisconfiguredError
from appliance.cli.options import Sources, json_option, print_json, print_table, sources_options
from appliance.config.load import Loaded, inspect_settings, wrong_settings
from appliance.config.model import NO_EFFECT
from appliance.config.reference import render_manual, render_sample, shown_settings
from appliance.config.sources import process_environment


@click.group()
def config() -> None:
    """Show and check the settings."""


@config.command()
@json_option
@sources_options
def show(sources: Sources, *, as_json: bool) -> None:
    """Every setting with its value and where it comes from; secrets are redacted."""
    loaded = _inspect(sources)
    if loaded.problems:
        raise wrong_settings(loaded.problems)
    shown = shown_settings(loaded.settings, loaded.origins)
    if as_json:
        print_json(shown)
        return
    print_table(
        ("KEY", "VALUE", "ORIGIN"), [(row.key, row.value or "-", row.origin) for row in shown]
    )


@config.command()
@json_option
@sources_options
def check(sources: Sources, *, as_json: bool) -> None:
    """Every problem at once, each with its key, its origin and what is expected."""
    loaded = _inspect(sources)
    if as_json:
        print_json({"problems": loaded.problems, "without_effect": loaded.without_effect})
    else:
        for problem in loaded.problems:
            print(problem)
        for name in loaded.without_effect:
            print(f"note: {name} sets nothing here: {NO_EFFECT[name]}")
    if loaded.problems:
        raise click.exceptions.Exit(MisconfiguredError.exit_status)
    if not as_json:
        print("the settings are fine")


@config.command()
def reference() -> None:
    """The configuration manual, in Markdown."""
    print(render_manual(), end="")


@config.command()
def sample() -> None:
    """A configuration file with every setting at its default."""
    print(render_sample(), end="")


def _inspect(sources: Sources) -> Loaded:
    return inspect_settings(
        config_file=sources.config_file, environment=process_environment(), flags=sources.flags
    )
