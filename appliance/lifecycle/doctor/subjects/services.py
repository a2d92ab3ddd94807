"""Whether everything runs that should, and stays up."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Mode, Subject, UnitFacts
from appliance.supervisor.component import ComponentStatus
from appliance.supervisor.state import State

RESTARTS_MANY: Final = 5
_ALWAYS_ACTIVE: Final = frozenset(
    {
        *("pug.target", "pug-appliance.service", "pug-appliance.socket", "pug-backup.timer"),
        *("pug-postgres.service", "pug-nats.service", "pug-clickhouse.service"),
        *("pug-nats.socket", "pug-clickhouse.socket"),
    }
)
_IDLE: Final = frozenset({"inactive", "deactivating"})
_BROKEN: Final = frozenset({State.QUARANTINED, State.FAILED, State.BACKING_OFF, State.STOPPED})


def judge_running(facts: Facts) -> Iterator[Verdict]:
    services = facts.services
    if services is None or services.hidden:
        return
    if not services.running:
        start = (
            "run `systemctl start pug.target`, then `journalctl -u 'pug*'` if it does not stay"
            if facts.place.mode is Mode.INSTALLED
            else "start it with `pug-appliance run`"
        )
        yield failed(services.error or "nothing runs", start)
    elif services.stopping:
        yield warning("the appliance is stopping", "wait, then start it again")
    else:
        yield ok(f"the appliance runs as pid {services.supervisor_pid}")


def judge_components(facts: Facts) -> Iterator[Verdict]:
    if facts.services is None or not facts.services.running:
        return
    troubled = [one for one in facts.services.components if not one.ready]
    for one in troubled:
        yield _judge_component(one)
    if not troubled:
        yield ok(f"all {len(facts.services.components)} components are ready")


def _judge_component(one: ComponentStatus) -> Verdict:
    cause = f": {one.cause}" if one.cause else ""
    see = f"see `pug-appliance logs {one.name}`"
    if one.held:
        return note(f"{one.name} is held for a backup or an upgrade", "wait until that has ended")
    if one.state is State.QUARANTINED:
        return failed(
            f"{one.name} crashed too often and is not started again{cause}",
            f"{see}, then run `pug-appliance restart {one.name}`",
        )
    if one.state in _BROKEN:
        return failed(f"{one.name} does not run ({one.state.lower()}){cause}", see)
    if one.state is State.READY:
        return failed(f"{one.name} runs and does not answer{cause}", see)
    return warning(f"{one.name} is {one.state.lower()}{cause}", f"wait a moment, else {see}")


def judge_restarts(facts: Facts) -> Iterator[Verdict]:
    services = facts.services
    if services is None or not (services.running or services.units):
        return
    counts = {one.name: one.restarts for one in services.components}
    counts |= {one.name: one.restarts for one in services.units}
    often = {name: count for name, count in counts.items() if count >= RESTARTS_MANY}
    for name, count in often.items():
        yield warning(
            f"{name} was started again {count} times",
            f"look for the cause: `pug-appliance logs {name.removesuffix('.service')}`",
        )
    if not often:
        yield ok("nothing was restarted often")


def judge_units(facts: Facts) -> Iterator[Verdict]:
    if facts.place.mode is not Mode.INSTALLED or facts.services is None:
        return
    units = facts.services.units
    if not units:
        return
    troubled = [verdict for unit in units if (verdict := _judge_unit(unit)) is not None]
    idle = [unit.name for unit in units if unit.name in _ALWAYS_ACTIVE and unit.active in _IDLE]
    if idle:
        start = idle[0] if len(idle) == 1 else "pug.target"
        troubled.append(failed(f"inactive: {', '.join(idle)}", f"run `systemctl start {start}`"))
    yield from troubled
    if not troubled:
        yield ok(f"systemd has {len(units)} units of ours, and none has failed")


def _judge_unit(unit: UnitFacts) -> Verdict | None:
    if unit.load != "loaded":
        return failed(
            f"{unit.name} is {unit.load}",
            "run `pug-appliance install` again; it writes the units"
            if unit.load != "masked"
            else f"run `systemctl unmask {unit.name}`",
        )
    if unit.active == "failed":
        return failed(
            f"{unit.name} has failed ({unit.result})", f"see `journalctl -u {unit.name} -n 50`"
        )
    if unit.enabled == "disabled":
        return warning(f"{unit.name} is not started at boot", f"run `systemctl enable {unit.name}`")
    if unit.reload_needed:
        return warning(
            f"systemd has not read the changed {unit.name}", "run `systemctl daemon-reload`"
        )
    return None


CHECKS: Final = (
    Check(
        name="running",
        subject=Subject.SERVICES,
        question="Does the appliance run?",
        judge=judge_running,
    ),
    Check(
        name="components",
        subject=Subject.SERVICES,
        question="Is every component ready?",
        judge=judge_components,
    ),
    Check(
        name="restarts",
        subject=Subject.SERVICES,
        question="Does something crash again and again?",
        judge=judge_restarts,
    ),
    Check(
        name="units",
        subject=Subject.SERVICES,
        question="Are the units of systemd loaded, active and started at boot?",
        judge=judge_units,
    ),
)
