"""End an operation that was cut off: after its commit forwards, before it backwards.

Invariant: afterwards the installation is wholly as before or wholly as wanted. The release that
began an operation ends it, because only it knows what its steps mean. Run at boot before everything
else, and by every lifecycle command before it begins.
"""

import msgspec

from appliance.base.errors import DamagedError
from appliance.lifecycle.backup.create import Origin
from appliance.lifecycle.backup.restore import KIND as RESTORE
from appliance.lifecycle.backup.restore import recover_restore
from appliance.lifecycle.backup.services import BootServices, SystemdServices
from appliance.lifecycle.install import KIND as INSTALL
from appliance.lifecycle.journal import Journal, Outcome
from appliance.lifecycle.rollback import KIND as ROLLBACK
from appliance.lifecycle.rollback import Rollbacker
from appliance.lifecycle.switchover import Change, Switchover, Tools
from appliance.lifecycle.upgrade import KIND as UPGRADE
from appliance.lifecycle.upgrade import Upgrader


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What was ended, and how: `done`, `undone`, `left`, or `nothing`."""

    kind: str = ""
    outcome: str = "nothing"
    leaving: str = ""
    wanted: str = ""


async def recover(journal: Journal | None, tools: Tools, origin: Origin) -> Recovery:
    """Bring the open operation to its end; none is fine.

    Raises the error of a step that cannot be done now; then trying again is safe. Raises
    DamagedError for a kind of operation nobody knows.
    """
    if journal is None:
        return Recovery()
    operation = journal.operation
    match operation.kind:
        case "upgrade" | "rollback":
            change = Change.from_parameters(operation.parameters)
            outcome = await _resume(journal, change, tools, origin)
            return Recovery(
                kind=operation.kind,
                outcome=outcome.value,
                leaving=change.leaving,
                wanted=change.wanted,
            )
        case "restore":
            outcome = await _finish_restore(journal, tools, origin)
            return Recovery(kind=RESTORE, outcome=outcome.value)
        case "install":
            tools.progress.note("an interrupted install is finished by running install again")
            return Recovery(kind=INSTALL, outcome="left")
        case kind:
            raise DamagedError(
                "OPERATION_UNKNOWN",
                f"the journal tells of an operation this release does not know: {kind}",
                hint="use the release that began it",
            )


async def _resume(journal: Journal, change: Change, tools: Tools, origin: Origin) -> Outcome:
    if journal.operation.kind == UPGRADE:
        upgrader = Upgrader(tools, make_point=_no_point)
        return await upgrader.runner(journal).resume(upgrader.plan(change))
    assert journal.operation.kind == ROLLBACK
    rollbacker = Rollbacker(tools, origin)
    plan = rollbacker.plan(change, journal.operation.parameters.get("point", ""))
    return await rollbacker.runner(journal).resume(plan)


async def _finish_restore(journal: Journal, tools: Tools, origin: Origin) -> Outcome:
    here = Change(leaving="", wanted="", previous_before="", previous_after="")
    booting = await Switchover(here, tools).is_booting()
    return await recover_restore(
        origin.settings,
        BootServices() if booting else SystemdServices(tools.host),
        config_file=origin.config_file,
        journal=journal,
        clock=tools.clock,
        progress=tools.progress,
    )


async def _no_point(reason: str) -> str:
    """A restore point is made before the commit, and before it the way is back."""
    raise AssertionError(reason)
