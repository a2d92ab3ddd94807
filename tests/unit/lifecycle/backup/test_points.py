"""Which restore points stay, whatever the clock says."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from appliance.config.model import Settings
from appliance.lifecycle.backup.points import (
    DAYS_MAX,
    list_restore_points,
    points_folder,
    prune_restore_points,
)
from tests.support.clocks import FixedClock
from tests.unit.lifecycle.backup.test_pool import manifest


def keep(settings: Settings, name: str, sequence: int) -> None:
    """A restore point of a stack without stores."""
    plain = manifest(name)
    folder = points_folder(settings) / name
    folder.mkdir(parents=True)
    numbered = msgspec.structs.replace(plain.summary, sequence=sequence)
    (folder / "point.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(plain, summary=numbered))
    )


def names(settings: Settings) -> list[str]:
    return [one.id for one in list_restore_points(settings)]


def test_a_jump_of_years_removes_nothing_and_days_do(tmp_path: Path) -> None:
    """Thirty nights after the jump it goes, as it would have gone without."""
    settings = Settings(data_dir=tmp_path)
    keep(settings, "20261121T020000Z", 1)
    prune_restore_points(settings, FixedClock(datetime(2026, 11, 21, tzinfo=UTC)))
    clock = FixedClock(datetime(2033, 11, 21, tzinfo=UTC))
    for _ in range(DAYS_MAX):
        prune_restore_points(settings, clock)
        assert names(settings)
        clock.advance(timedelta(days=1).total_seconds())
    prune_restore_points(settings, clock)
    assert not names(settings)


def test_the_one_just_made_stays_where_the_clock_went_back(tmp_path: Path) -> None:
    """Its name is the oldest, and an upgrade needs it."""
    settings = Settings(data_dir=tmp_path)
    most = settings.backup.restore_points_max
    for number in range(most):
        keep(settings, f"2026112{number}T020000Z", number + 1)
    keep(settings, "20190301T000000Z", most + 1)
    prune_restore_points(settings, FixedClock(datetime(2019, 3, 1, tzinfo=UTC)))
    assert names(settings)[-1] == "20190301T000000Z"
    assert len(names(settings)) == most
