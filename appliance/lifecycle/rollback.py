"""Back to the release before, with every event that was acknowledged since.

Invariant: code alone goes back as long as the older release works on the schema of now; nothing is
lost then. Else, or when asked for, the stores go back to the restore point of the upgrade and the
queue stores every event since again, once; what people changed since (projects, dashboards) is
lost, and the operator is told so. Until the commit everything leads back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from appliance.base.errors import ApplianceError, TimedOutError, UnmetError
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.backup.points import (
    PointSteps,
    check_replay,
    list_restore_points,
)
from appliance.lifecycle.journal import Journal
from appliance.lifecycle.manifest import Manifest
from appliance.lifecycle.operation import begin_operation
from appliance.lifecycle.releases import (
    current_manifest,
    installed_manifests,
    older_than,
    version_of,
)
from appliance.lifecycle.runner import Drill, Runner, no_drill
from appliance.lifecycle.steps import Plan, Step
from appliance.lifecycle.switchover import APPLIANCE, Change, Switchover, Tools
from appliance.lifecycle.upgrade import can_serve, point_reason

KIND: Final = "rollback"
_STORE_UNITS: Final = ("pug-clickhouse.socket", "pug-clickhouse.service", "pug-postgres.service")
_QUEUE_UNITS: Final = ("pug-nats.socket", "pug-nats.service", "pug-nats-proxy.service")
"""In the order of starting; which of them there are depends on the release."""
_REPLACE_SECONDS_MAX: Final = 60.0
_QUEUE_SECONDS_MAX: Final = 30.0
_PAUSE_SECONDS: Final = 0.1


class PreparedRollback(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback will do: `point` is the restore point, empty when only code goes back."""

    leaving: Manifest
    wanted: Manifest
    point: str = ""
    messages: int = 0
    """Messages of the queue that will be stored again."""


async def prepare_rollback(tools: Tools, *, to_point: bool) -> PreparedRollback:
    """Find the release to go back to, and how.

    Raises UnmetError when there is no older release, no restore point where one is needed, or the
    queue does not have everything since that point.
    """
    layout = tools.layout
    leaving = current_manifest(layout)
    version = version_of(layout.previous)
    manifests = installed_manifests(layout)
    wanted = manifests.get(version)
    if wanted is None or wanted.release >= leaving.release:
        raise UnmetError(
            "NOTHING_BEFORE",
            f"there is no release before {leaving.version} on this machine",
            hint="`pug-appliance releases` lists what is installed",
        )
    if not to_point and can_serve(older=wanted, newer=leaving):
        return PreparedRollback(leaving=leaving, wanted=wanted)
    reason = point_reason(leaving.version)
    points = [
        one
        for one in list_restore_points(tools.settings)
        if one.reason == reason and one.release == wanted.version
    ]
    if not points:
        raise UnmetError(
            "NO_RESTORE_POINT",
            f"there is no restore point from {reason}",
            hint="restore a backup with `pug-appliance backup restore`",
        )
    replay = await check_replay(tools.settings, points[-1].id)
    return PreparedRollback(
        leaving=leaving, wanted=wanted, point=points[-1].id, messages=replay.messages
    )


class Rollbacker:
    """One rollback, prepared before."""

    def __init__(self, tools: Tools, origin: Origin) -> None:
        self._tools = tools
        self._origin = origin

    async def run(self, prepared: PreparedRollback, *, drill: Drill = no_drill) -> None:
        """Go back, journalled; raises RolledBackError (exit status 6) when that was undone."""
        layout = self._tools.layout
        change = Change(
            leaving=prepared.leaving.version,
            wanted=prepared.wanted.version,
            previous_before=version_of(layout.previous),
            previous_after=older_than(layout, prepared.wanted.release),
        )
        parameters = {**change.parameters(), "point": prepared.point}
        journal = begin_operation(layout, KIND, parameters, clock=self._tools.clock)
        await self.runner(journal, drill).run(self.plan(change, prepared.point))

    def runner(self, journal: Journal, drill: Drill = no_drill) -> Runner:
        """Runs the steps; also for `recover`."""
        tools = self._tools
        return Runner(journal=journal, progress=tools.progress, clock=tools.clock, drill=drill)

    def plan(self, change: Change, point: str) -> Plan:
        """The steps, in order. Their names are in journals and are never given another meaning."""
        switchover = Switchover(change, self._tools)
        if not point:
            steps = (*switchover.steps(), *switchover.ending())
            return Plan(kind=KIND, steps=steps, commit="commit")
        point_steps = PointSteps(self._origin, point, progress=self._tools.progress)
        stores = _Stores(change, self._tools)
        by_name = {step.name: step for step in switchover.steps()}
        rewind = point_steps.rewind
        return Plan(
            kind=KIND,
            steps=(
                point_steps.rebuild,
                by_name["return"],
                by_name["units"],
                by_name["switch"],
                Step(
                    name="quiet",
                    title="stopping the stores; the queue takes events",
                    do=stores.stop,
                    undo=stores.start,
                ),
                msgspec.structs.replace(
                    rewind,
                    do=stores.with_queue(rewind.do),
                    undo=stores.with_queue(rewind.undo),
                ),
                point_steps.exchange,
                Step(
                    name="wake",
                    title="starting the stores",
                    do=stores.start,
                    undo=stores.stop_only,
                ),
                by_name["health"],
                by_name["commit"],
                *switchover.ending(),
                point_steps.tidy,
            ),
            commit="commit",
        )


class _Stores:
    """The event store and the relational store, stopped while clients' connections wait."""

    def __init__(self, change: Change, tools: Tools) -> None:
        self._change = change
        self._tools = tools
        self._switchover = Switchover(change, tools)

    async def stop(self) -> None:
        """Stop the stores, and have the wanted release wait for them instead of the other."""
        await self.stop_only()
        # Whoever connects now waits: the service has the socket, and its API waits for the stores.
        await self._systemctl("restart", "--no-block", APPLIANCE)
        await self._switchover.until_runs(self._change.wanted, seconds_max=_REPLACE_SECONDS_MAX)

    async def stop_only(self) -> None:
        await self._unless_booting("stop")

    async def start(self) -> None:
        await self._unless_booting("start")

    async def _unless_booting(self, verb: str) -> None:
        # At boot they wait for `recover`; to stop them would take their turn away for good.
        if not await self._switchover.is_booting():
            await self._systemctl(verb, *_STORE_UNITS)

    def with_queue(self, action: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """The same with the queue running: at boot it is started before its turn."""

        async def act() -> None:
            if not await self._switchover.is_booting():
                await action()
                return
            # Its turn comes after `recover`, which would wait for it for ever.
            for unit in _QUEUE_UNITS:
                if (self._tools.layout.unit_dir / unit).exists():
                    await self._systemctl("start", "--job-mode=ignore-dependencies", unit)
            await self._insist(action)

        return act

    async def _insist(self, action: Callable[[], Awaitable[None]]) -> None:
        end = self._tools.clock.monotonic_seconds() + _QUEUE_SECONDS_MAX
        while True:
            try:
                await action()
            except ApplianceError as error:
                if not error.transient:
                    raise
                if self._tools.clock.monotonic_seconds() > end:
                    raise TimedOutError("QUEUE_SILENT", "the queue does not answer") from error
            else:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _systemctl(self, *argv: str) -> None:
        await self._tools.host.run("systemctl", *argv, timeout_seconds=180.0)
