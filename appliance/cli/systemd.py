"""`systemd`: show the units an installation has, or would have."""

from pathlib import Path

import click

from appliance.base.errors import NotFoundError
from appliance.base.files import write_atomic
from appliance.cli.options import settings_options
from appliance.config.model import Settings
from appliance.lifecycle.layout import PUBLIC_FILE, Layout, find_prefix, load_layout
from appliance.lifecycle.units import render_units


@click.group()
def systemd() -> None:
    """The systemd units of an installed appliance."""


@systemd.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the units as files into this folder.",
)
@settings_options
def render(settings: Settings, output: Path | None) -> None:
    """Print the units as `install` writes them for these settings; nothing is changed."""
    try:
        layout = load_layout(find_prefix())
    except NotFoundError:
        layout = Layout()
    for name, text in render_units(layout, settings).items():
        if output is None:
            print(f"### {layout.unit_dir / name}\n{text}")
        else:
            output.mkdir(parents=True, exist_ok=True)
            write_atomic(output / name, text.encode(), mode=PUBLIC_FILE)
