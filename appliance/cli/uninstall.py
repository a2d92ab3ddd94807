"""`uninstall`: take the appliance off this machine, with or without its data.

Invariant: data goes only with `--purge`, and only after a yes.
"""

import asyncio
import os
import sys
from pathlib import Path

import click

from appliance.base.clock import SystemClock
from appliance.base.errors import UnmetError
from appliance.cli.options import json_option, print_json
from appliance.cli.progress import open_progress
from appliance.lifecycle.first_settings import InstallOptions, find_places
from appliance.lifecycle.host import RealHost
from appliance.lifecycle.layout import Layout, find_prefix
from appliance.lifecycle.uninstall import Uninstaller

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.option("--prefix", type=_FOLDER, help="Where the programs are.  [default: /opt/pug]")
@click.option("--data-dir", type=_FOLDER, help="Where the data is; needed only when it is unknown.")
@click.option("--purge", is_flag=True, help="Remove data, configuration and secrets, too.")
@click.option("--yes", is_flag=True, help="Do not ask before data is removed.")
@json_option
def uninstall(
    *, prefix: Path | None, data_dir: Path | None, purge: bool, yes: bool, as_json: bool
) -> None:
    """Stop everything and remove programs and units; data, settings and secrets are kept.

    With --purge nothing is left behind. Backups outside the data folder are never touched.
    """
    options = InstallOptions(
        prefix=(prefix or find_prefix()).absolute(),
        data_dir=data_dir.absolute() if data_dir is not None else None,
    )
    layout = find_places(options)
    if os.geteuid() != 0:
        raise UnmetError("NOT_ROOT", "only root can uninstall", hint="run it with sudo")
    if purge and not yes:
        _ask(layout)
    clock = SystemClock()
    with open_progress(as_json=as_json) as progress:
        work = Uninstaller(layout, purge=purge, host=RealHost(), progress=progress, clock=clock)
        asyncio.run(work.run())
    kept = [] if purge else [str(layout.data_dir), str(layout.config_dir)]
    if as_json:
        print_json({"event": "uninstalled", "purged": purge, "kept": kept})
    elif purge:
        print("everything was removed")
    else:
        print(f"programs and units were removed; kept: {', '.join(kept)}")


def _ask(layout: Layout) -> None:
    """Have a person say yes; a script says it with an option."""
    if not sys.stdin.isatty():
        raise click.UsageError("--purge removes all data; say --yes to mean it")
    click.confirm(f"Remove all data in {layout.data_dir} and all settings for ever?", abort=True)
