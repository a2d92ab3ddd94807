"""When the ballast is given up and taken again."""

from pathlib import Path

import pytest

from appliance.base.units import Bytes
from appliance.config.model import DiskSettings, Settings
from appliance.engines.ballast import Ballast, Move, plan_ballast

MIB = 1 << 20
WANTED = 256 * MIB
RESERVE = 512 * MIB


@pytest.mark.parametrize(
    ("free", "held", "wanted", "move"),
    [
        (10_000 * MIB, 0, WANTED, Move.TAKE),
        (768 * MIB, 0, WANTED, Move.TAKE),
        (768 * MIB - 1, 0, WANTED, Move.NOTHING),
        (100 * MIB, WANTED, WANTED, Move.NOTHING),
        (64 * MIB, WANTED, WANTED, Move.NOTHING),
        (64 * MIB - 1, WANTED, WANTED, Move.RELEASE),
        (0, WANTED, WANTED, Move.RELEASE),
        (0, 0, WANTED, Move.NOTHING),
        (10_000 * MIB, WANTED, 0, Move.RELEASE),
        (10_000 * MIB, 0, 0, Move.NOTHING),
        (10_000 * MIB, MIB, WANTED, Move.TAKE),
    ],
)
def test_plan(free: int, held: int, wanted: int, move: Move):
    """Taken with plenty of room, given up near the end, and let alone between."""
    assert plan_ballast(free=free, held=held, wanted=wanted, reserve=RESERVE) is move


@pytest.mark.parametrize("reserve", [0, RESERVE])
def test_taking_never_leads_to_giving_up(reserve: int):
    """The ballast does not flutter: what is left after taking it is far from the other edge."""
    for free in range(0, 2000 * MIB, 7 * MIB):
        if plan_ballast(free=free, held=0, wanted=WANTED, reserve=reserve) is Move.TAKE:
            rest = free - WANTED
            again = plan_ballast(free=rest, held=WANTED, wanted=WANTED, reserve=reserve)
            assert again is Move.NOTHING


def test_the_file_takes_real_space_and_gives_it_back(tmp_path: Path):
    """Allocated, private, and gone when none is wanted any more."""
    wanted = DiskSettings(ballast=Bytes(8 * MIB), reserve=Bytes(0))
    ballast = Ballast(Settings(data_dir=tmp_path, disk=wanted))
    path = tmp_path / "spool" / "ballast"
    assert ballast.keep(take=False) is None
    change = ballast.keep()
    assert change is not None
    assert change.move is Move.TAKE
    assert path.stat().st_blocks * 512 >= 8 * MIB
    assert path.stat().st_mode & 0o777 == 0o600
    assert ballast.keep() is None
    none = DiskSettings(ballast=Bytes(0), reserve=Bytes(0))
    change = Ballast(Settings(data_dir=tmp_path, disk=none)).keep()
    assert change is not None
    assert (change.move, change.size_bytes) == (Move.RELEASE, 8 * MIB)
    assert not path.exists()
