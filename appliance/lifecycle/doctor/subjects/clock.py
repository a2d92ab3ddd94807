"""Whether the machine knows what time it is."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Subject

JUMP_MIN: Final = timedelta(minutes=5)
_REMEDY: Final = "set the clock (`timedatectl set-time`, or a time service), then restart"


def judge_synchronised(facts: Facts) -> Iterator[Verdict]:
    clock = facts.clock
    if clock is None or clock.synchronised is None:
        return
    if clock.synchronised:
        yield ok(f"a time service keeps the clock (zone {clock.zone})")
    else:
        yield advice(
            facts,
            "no time service keeps the clock: events get wrong times as it drifts",
            "run chrony or systemd-timesyncd with a time server of this network",
        )


def judge_jump(facts: Facts) -> Iterator[Verdict]:
    """A clock that went back makes fresh events look old and certificates not yet valid."""
    clock = facts.clock
    if clock is None:
        return
    now = facts.place.now
    told = f"{now:%Y-%m-%d %H:%M} UTC"
    if clock.built_at is not None and now < clock.built_at:
        yield failed(
            f"the clock says {told}, before this release was made ({clock.built_at:%Y-%m-%d})",
            _REMEDY,
        )
    elif clock.newest_mark is not None and clock.newest_mark - now > JUMP_MIN:
        yield failed(
            f"the clock went back: it says {told}, and {clock.newest_mark_path} was written at "
            f"{clock.newest_mark:%Y-%m-%d %H:%M}",
            _REMEDY,
        )
    else:
        yield ok(f"nothing contradicts the clock ({told})")


def judge_future(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or stores.future_events is None:
        return
    if stores.future_events:
        yield warning(
            f"{stores.future_events} events happen more than a day from now",
            "set the clock of this machine, or of the clients that send them",
        )
    else:
        yield ok("no event lies in the future")


CHECKS: Final = (
    Check(
        name="clock-kept",
        subject=Subject.CLOCK,
        question="Does a time service keep the clock?",
        judge=judge_synchronised,
    ),
    Check(
        name="clock-jump",
        subject=Subject.CLOCK,
        question="Did the clock go back?",
        judge=judge_jump,
    ),
    Check(
        name="future-events",
        subject=Subject.CLOCK,
        question="Are there events of the future?",
        judge=judge_future,
    ),
)
