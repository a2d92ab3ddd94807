"""When events are refused for lack of disk."""

import os
from pathlib import Path

import pytest

from appliance.base.errors import UnavailableError
from appliance.base.units import Bytes
from appliance.config.model import DiskSettings, NatsSettings, PostgresSettings, Settings
from appliance.config.secrets import Secret
from appliance.services.room import LOOK_SECONDS, Room, make_room
from tests.support.clocks import FixedClock


def test_a_reserve_larger_than_the_disk_refuses(tmp_path: Path):
    """Below the reserve every batch is refused, and counted."""
    clock = FixedClock()
    room = Room([tmp_path], reserve_bytes=1 << 60, clock=clock)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            room.require()
    assert room.state.refused == 2
    assert 0 < room.state.free_bytes < 1 << 60


def test_no_reserve_takes_everything(tmp_path: Path):
    """The control: the same disk without a reserve."""
    room = Room([tmp_path], reserve_bytes=0, clock=FixedClock())
    room.require()
    assert room.state.refused == 0


def test_the_file_system_is_asked_now_and_then(tmp_path: Path):
    """A request costs no system call, and a change is seen soon."""
    clock = FixedClock()
    room = Room([tmp_path / "later"], reserve_bytes=1, clock=clock)
    before = room.state.free_bytes
    (tmp_path / "later").mkdir()
    (tmp_path / "filled").write_bytes(os.urandom(8 << 20))
    assert room.state.free_bytes == before
    clock.advance(LOOK_SECONDS + 0.01)
    assert room.state.free_bytes != before


def test_only_our_own_stores_count(tmp_path: Path):
    """Nobody is refused because of a disk that no store of ours lies on."""
    url = Secret("somewhere")
    huge = DiskSettings(reserve=Bytes(1 << 60))
    ours = Settings(data_dir=tmp_path, disk=huge, nats=NatsSettings(url=url))
    with pytest.raises(UnavailableError):
        make_room(ours, FixedClock()).require()
    theirs = Settings(
        data_dir=tmp_path,
        disk=huge,
        nats=NatsSettings(url=url),
        postgres=PostgresSettings(url=url),
        clickhouse=ours.clickhouse.__class__(url=url),
    )
    make_room(theirs, FixedClock()).require()
