"""`doctor`: everything an operator could have wrong, each with cause and remedy.

Invariant: it works when nothing else does and changes nothing; the exit status is 1 when a check
failed and 0 otherwise.
"""

import asyncio
from itertools import groupby
from typing import Final

import click

from appliance.base.clock import SystemClock
from appliance.cli.options import Sources, json_option, print_json, sources_options
from appliance.config.sources import process_environment
from appliance.lifecycle.doctor.catalogue import DoctorReport, examine
from appliance.lifecycle.doctor.check import Finding, Severity
from appliance.lifecycle.doctor.facts import Subject
from appliance.lifecycle.doctor.gathering.run import gather
from appliance.lifecycle.doctor.gathering.scene import Wanted, find_scene
from appliance.lifecycle.host import RealHost

_EXIT_FAILED: Final = 1
_SUBJECTS: Final = tuple(subject.value for subject in Subject)


@click.command()
@click.option(
    "--only",
    "subjects",
    type=click.Choice(_SUBJECTS),
    multiple=True,
    help="Only about this subject. May be repeated.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what is fine, too.")
@json_option
@sources_options
def doctor(sources: Sources, *, subjects: tuple[str, ...], verbose: bool, as_json: bool) -> int:
    """Find everything that is wrong with the installation, with cause and remedy.

    Works also when nothing starts, and changes nothing. As root it sees more. The exit status is 1
    when something failed; warnings and notes do not count.
    """
    report = diagnose(sources, only=tuple(map(Subject, subjects)))
    if as_json:
        print_json(report)
    else:
        print(render(report, verbose=verbose))
    return 0 if report.healthy else _EXIT_FAILED


def diagnose(sources: Sources, *, only: tuple[Subject, ...] = ()) -> DoctorReport:
    """Look at the installation that the command line means."""
    wanted = Wanted(
        config_file=sources.config_file,
        flags=sources.flags,
        environment=process_environment(),
    )
    scene = find_scene(wanted, host=RealHost(), clock=SystemClock())
    return examine(asyncio.run(gather(scene)), only=only)


def render(report: DoctorReport, *, verbose: bool) -> str:
    """The report for people: failed first, then by subject."""
    lines = [f"{report.data_dir} ({report.mode}), release {report.release}"]
    shown = [one for one in report.findings if verbose or one.severity is not Severity.OK]
    for severity, group in groupby(shown, key=lambda one: one.severity):
        findings = list(group)
        lines += ["", severity.value.upper()]
        width = max(len(one.subject) for one in findings)
        for one in findings:
            lines += _render_finding(one, width)
    passed = sum(one.severity is Severity.OK for one in report.findings)
    lines += [
        "",
        f"{report.failed} failed, {report.warnings} warnings, {report.notes} notes, {passed} ok"
        + ("" if verbose or not passed else " (-v shows them)"),
    ]
    return "\n".join(lines)


def _render_finding(one: Finding, width: int) -> list[str]:
    lines = [f"  {one.subject.ljust(width)}  {one.cause}"]
    if one.remedy:
        lines.append(f"  {' ' * width}  → {one.remedy}")
    return lines
