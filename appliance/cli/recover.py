"""`recover`: end an operation that a crash or a power cut interrupted."""

from contextlib import nullcontext
from pathlib import Path

import click

from appliance.cli.installation import (
    carry_through,
    end_interrupted,
    open_installed,
    prefix_option,
)
from appliance.cli.options import json_option, print_json
from appliance.cli.progress import open_progress
from appliance.lifecycle.operation import operation_lock
from appliance.lifecycle.recover import Recovery


@click.command()
@prefix_option
@click.option("--locked", is_flag=True, hidden=True, help="The caller keeps others out.")
@json_option
def recover(*, prefix: Path | None, locked: bool, as_json: bool) -> None:
    """End an interrupted upgrade, rollback or restore; run at boot and whenever you like.

    What was decided already is finished, everything else is put back.
    """
    with open_progress(as_json=as_json) as progress:
        installation = open_installed(prefix, progress)
        with nullcontext() if locked else operation_lock(installation.layout):
            recovery = carry_through(end_interrupted(installation))
    if as_json:
        print_json(recovery)
    else:
        print(_sentence(recovery))


def _sentence(recovery: Recovery) -> str:
    match recovery.outcome:
        case "nothing":
            return "nothing was interrupted"
        case "left":
            return "an install was interrupted; run it again to finish it"
        case "done" if recovery.wanted:
            return f"the {recovery.kind} was finished: release {recovery.wanted} is in use"
        case "done":
            return f"the {recovery.kind} was finished"
        case _ if recovery.leaving:
            return f"the {recovery.kind} was undone: release {recovery.leaving} is in use"
        case _:
            return f"the {recovery.kind} was undone"
