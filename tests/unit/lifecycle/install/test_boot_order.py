"""A boot starts everything: where an order goes in a circle, systemd drops a job at random."""

from graphlib import TopologicalSorter
from pathlib import Path

from appliance.config.model import Settings
from appliance.lifecycle.layout import Layout
from appliance.lifecycle.unit_file import parse_unit
from appliance.lifecycle.units import render_units

BASIC = {"sysinit.target"} | {f"{kind}.target" for kind in ("sockets", "timers", "paths", "slices")}
KINDS = {"socket": "sockets.target", "timer": "timers.target"}


def implied(name: str) -> tuple[set[str], set[str]]:
    """What a unit comes after and before by default: systemd.socket(5), .service(5), .timer(5)."""
    kind = name.rpartition(".")[2]
    if kind in KINDS:
        return {"sysinit.target"}, {KINDS[kind]}
    return ({"sysinit.target", "basic.target"} if kind == "service" else set()), set()


def test_the_order_of_a_boot_has_no_circle() -> None:
    order: TopologicalSorter[str] = TopologicalSorter({"basic.target": BASIC})
    for name, text in render_units(Layout(), Settings(data_dir=Path("/var/lib/pug"))).items():
        unit = parse_unit(text)["Unit"]
        after = {one for value in unit.get("After", ()) for one in value.split()}
        before = {one for value in unit.get("Before", ()) for one in value.split()}
        if unit.get("DefaultDependencies") != ("no",):
            more_after, more_before = implied(name)
            after |= more_after
            before |= more_before
        if name == "pug.target":
            after |= {one for value in unit["Wants"] for one in value.split()}
        order.add(name, *after)
        for later in before - {"shutdown.target"}:
            order.add(later, name)
    assert list(order.static_order())
