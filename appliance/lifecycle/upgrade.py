"""Upgrade to the release in a bundle, while clients go on sending.

Invariant: nothing outside staging changes before the bundle is verified and the machine is judged.
Migrations only add what the release in use can live with, so the way back before the commit is the
switch back and loses nothing. The switch itself is `switchover.py`; `docs/upgrade.md` shows the
operator's side.
"""

import asyncio
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import UnmetError
from appliance.base.files import flush_folder, unwritable
from appliance.lifecycle.archive import ArchiveReader, open_archive
from appliance.lifecycle.bundle import Machine, judge, read_head
from appliance.lifecycle.facts import HostFacts, find_glibc, gather_facts
from appliance.lifecycle.journal import Journal
from appliance.lifecycle.layout import MANIFEST_NAME
from appliance.lifecycle.manifest import Manifest
from appliance.lifecycle.operation import begin_operation
from appliance.lifecycle.preflight import PreflightFinding, Requirements
from appliance.lifecycle.preflight import judge as judge_machine
from appliance.lifecycle.program import Program
from appliance.lifecycle.release_tree import load_manifest, verify_tree
from appliance.lifecycle.releases import (
    current_manifest,
    prune_releases,
    remove_release,
    version_of,
    versions_in_use,
)
from appliance.lifecycle.runner import Drill, Runner, no_drill
from appliance.lifecycle.signature import load_trusted_keys
from appliance.lifecycle.staging import stage
from appliance.lifecycle.steps import Plan, Step
from appliance.lifecycle.switchover import Change, Switchover, Tools
from appliance.lifecycle.trust import adopt_keys

KIND: Final = "upgrade"
_NOT_ASKED: Final = frozenset({"release", "unfinished operation", "configuration", "port", "clock"})
"""Findings of an install that an upgrade settles in its own way."""

PointMaker = Callable[[str], Awaitable[str]]
"""Makes a restore point for a reason; its name."""


class PreparedUpgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an upgrade before anything changes."""

    bundle: Path
    leaving: Manifest
    wanted: Manifest
    machine: Machine
    facts: HostFacts
    findings: tuple[PreflightFinding, ...]


def prepare_upgrade(bundle: Path, tools: Tools) -> PreparedUpgrade:
    """Read the head of a bundle and look at the machine; nothing is changed.

    Raises BundleRefusedError (exit status 5) for a bundle that is not for this installation, and
    UnmetError when a release in between is needed.
    """
    layout = tools.layout
    leaving = current_manifest(layout)
    machine = Machine(
        architecture=platform.machine(),
        glibc=find_glibc(),
        release=leaving.release,
        version=leaving.version,
    )
    with open_archive(bundle) as file:
        head = read_head(ArchiveReader(file), load_trusted_keys(layout.trusted_keys))
    wanted = head.manifest
    judge(wanted, machine)
    check_way_back(older=leaving, newer=wanted)
    facts = gather_facts(layout, (), clock=tools.clock)
    requirements = Requirements(
        version=wanted.version,
        architecture=wanted.architecture,
        glibc=wanted.glibc,
        size_bytes=wanted.total_bytes,
        source_date=wanted.source_date,
        prefix=layout.prefix,
        command=layout.command,
        config_file=layout.config_file,
    )
    found = judge_machine(facts, requirements)
    return PreparedUpgrade(
        bundle=bundle,
        leaving=leaving,
        wanted=wanted,
        machine=machine,
        facts=facts,
        findings=tuple(one for one in found if one.check not in _NOT_ASKED),
    )


def can_serve(*, older: Manifest, newer: Manifest) -> bool:
    """Whether the older release works on the schema the newer one leaves behind."""
    return all(
        older.schema.get(store, 0) >= number for store, number in newer.schema_compatible.items()
    )


def check_way_back(*, older: Manifest, newer: Manifest) -> None:
    """Refuse an upgrade whose migrations take away what the release in use needs.

    Raises UnmetError.
    """
    if not can_serve(older=older, newer=newer):
        raise UnmetError(
            "UPGRADE_TOO_FAR",
            f"release {newer.version} takes away what release {older.version} still uses",
            hint="upgrade to a release in between first",
        )


class Upgrader:
    """One upgrade, prepared before."""

    def __init__(self, tools: Tools, *, make_point: PointMaker) -> None:
        self._tools = tools
        self._make_point = make_point

    async def run(self, prepared: PreparedUpgrade, *, drill: Drill = no_drill) -> None:
        """Stage the bundle, then upgrade, journalled.

        Raises BundleRefusedError with nothing changed, and RolledBackError (exit status 6) after
        everything was put back.
        """
        tools, layout = self._tools, self._tools.layout
        tools.progress.begin("verify", "verifying the bundle while copying it")
        started = tools.clock.monotonic_seconds()
        staged = await stage(
            prepared.bundle,
            staging=layout.staging,
            trusted=load_trusted_keys(layout.trusted_keys),
            machine=prepared.machine,
            installed=layout.current.resolve(),
            progress=tools.progress,
        )
        tools.progress.end("verify", tools.clock.monotonic_seconds() - started)
        # The head was read before the rest: the file may have been exchanged in between.
        check_way_back(older=prepared.leaving, newer=staged.manifest)
        change = Change(
            leaving=prepared.leaving.version,
            wanted=staged.manifest.version,
            previous_before=version_of(layout.previous),
            previous_after=prepared.leaving.version,
        )
        journal = begin_operation(layout, KIND, change.parameters(), clock=tools.clock)
        await self.runner(journal, drill).run(self.plan(change))

    def runner(self, journal: Journal, drill: Drill = no_drill) -> Runner:
        """Runs the steps; also for `recover`."""
        tools = self._tools
        return Runner(journal=journal, progress=tools.progress, clock=tools.clock, drill=drill)

    def plan(self, change: Change) -> Plan:
        """The steps, in order. Their names are in journals and are never given another meaning."""
        switchover = Switchover(change, self._tools)
        release = _Placing(change, self._tools)

        async def keep() -> None:
            await self._make_point(point_reason(change.wanted))

        program = Program(self._tools.layout, change.wanted, self._tools.host)

        async def migrate() -> None:
            await program.ensure_premises()
            await program.migrate()

        return Plan(
            kind=KIND,
            steps=(
                Step(name="point", title="keeping a restore point", do=keep),
                Step(
                    name="place",
                    title="putting the release in place",
                    do=release.place,
                    undo=release.remove,
                ),
                # No way back: what is added does no harm to the release that stays.
                Step(name="migrate", title="bringing the stores up to date", do=migrate),
                *switchover.steps(),
                *switchover.ending(),
                Step(name="keys", title="trusting the release's keys", do=release.trust_keys),
                Step(name="prune", title="removing releases before the last", do=release.prune),
            ),
            commit="commit",
        )


def point_reason(version: str) -> str:
    """What the restore point of an upgrade says, so that `rollback` finds it."""
    return f"before the upgrade to {version}"


class _Placing:
    """The files of the wanted release."""

    def __init__(self, change: Change, tools: Tools) -> None:
        self._change = change
        self._tools = tools
        self._layout = tools.layout

    async def place(self) -> None:
        """Move the release from staging to its place, in one rename."""
        await asyncio.to_thread(self._place)

    def _place(self) -> None:
        version = self._change.wanted
        staged, target = self._layout.staging / version, self._layout.release(version)
        try:
            if target.exists():
                # An earlier rollback left it, and an engine may still run from it.
                if _same_release(staged, target):
                    return
                remove_release(self._layout, version)
            staged.rename(target)
            flush_folder(self._layout.releases)
            flush_folder(self._layout.staging)
        except OSError as error:
            raise unwritable(target, error) from error

    async def remove(self) -> None:
        """Have no release that nobody uses; one that something runs from stays, unused."""
        version = self._change.wanted
        used = versions_in_use(self._layout, self._tools.proc)
        if version not in used | {version_of(self._layout.current)}:
            await asyncio.to_thread(remove_release, self._layout, version)

    async def trust_keys(self) -> None:
        """Accept the next upgrade from whom this release names, not from whom it left out."""
        leaving, wanted = (
            load_manifest(self._layout.release(version)).keys
            for version in (self._change.leaving, self._change.wanted)
        )
        adopt_keys(self._layout.trusted_keys, leaving=leaving, wanted=wanted)

    async def prune(self) -> None:
        """Let go of what neither runs nor can be rolled back to."""
        for version in await asyncio.to_thread(
            lambda: prune_releases(self._layout, proc=self._tools.proc)
        ):
            self._tools.progress.note(f"release {version} was removed")


def _same_release(one: Path, other: Path) -> bool:
    """Whether an installed release is whole and the one that was staged."""
    try:
        same = (one / MANIFEST_NAME).read_bytes() == (other / MANIFEST_NAME).read_bytes()
    except OSError:
        return False
    return same and not verify_tree(other, load_manifest(other))
