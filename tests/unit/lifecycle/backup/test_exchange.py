"""Exchanging what a folder holds, cut off at every rename."""

from pathlib import Path

import pytest

from appliance.lifecycle.backup.exchange import (
    REPLACED,
    WAITING,
    Move,
    backward,
    bring,
    forget,
    forward,
    move,
)

RENAMES = 7


class CutOffError(Exception):
    """The power is gone."""


def cutting(after: int) -> Move:
    """A rename that works `after` times."""
    left = after

    def rename(path: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise CutOffError
        left -= 1
        move(path, target)

    return rename


def prepare(folder: Path) -> Path:
    """An engine's folder with old files, and fresh ones waiting."""
    live = folder / "live"
    rebuilt = folder / "rebuilt"
    for home, word in ((live, "old"), (rebuilt, "fresh")):
        (home / "store").mkdir(parents=True)
        (home / "store" / "data").write_text(word)
        (home / "settings").write_text(word)
    (live / "only-old").write_text("old")
    bring(rebuilt, live)
    return live


def content(live: Path) -> set[str]:
    """What the engine would see."""
    return {
        f"{path.relative_to(live)}={path.read_text()}"
        for path in live.rglob("*")
        if path.is_file() and not path.relative_to(live).parts[0].startswith(".")
    }


OLD = {"store/data=old", "settings=old", "only-old=old"}
FRESH = {"store/data=fresh", "settings=fresh"}


def test_forward_and_back(tmp_path: Path) -> None:
    """As often as one likes."""
    live = prepare(tmp_path)
    for _ in range(2):
        forward(live)
        forward(live)
        assert content(live) == FRESH
        backward(live)
        backward(live)
        assert content(live) == OLD
        assert (live / WAITING).is_dir()
        assert not (live / REPLACED).exists()


@pytest.mark.parametrize("after", range(RENAMES))
def test_cut_off_forward(tmp_path: Path, after: int) -> None:
    """At every rename, both ways lead to a whole folder."""
    for way, wanted in ((forward, FRESH), (backward, OLD)):
        live = prepare(tmp_path / way.__name__)
        if after < RENAMES - 1:
            with pytest.raises(CutOffError):
                forward(live, rename=cutting(after))
        else:
            forward(live, rename=cutting(after))
        way(live)
        assert content(live) == wanted


@pytest.mark.parametrize("after", range(RENAMES))
def test_cut_off_backward(tmp_path: Path, after: int) -> None:
    """The way back can be cut off as well."""
    live = prepare(tmp_path)
    forward(live)
    if after < RENAMES - 1:
        with pytest.raises(CutOffError):
            backward(live, rename=cutting(after))
    backward(live)
    assert content(live) == OLD


def test_what_was_replaced_stays_until_it_is_forgotten(tmp_path: Path) -> None:
    """And the next exchange replaces it."""
    live = prepare(tmp_path)
    forward(live)
    assert (live / REPLACED / "settings").read_text() == "old"
    forget(live, REPLACED)
    assert not (live / REPLACED).exists()
    assert content(live) == FRESH


def test_a_fresh_host_has_nothing_to_replace(tmp_path: Path) -> None:
    """The folder is made."""
    (tmp_path / "rebuilt").mkdir()
    (tmp_path / "rebuilt" / "settings").write_text("fresh")
    bring(tmp_path / "rebuilt", tmp_path / "live")
    forward(tmp_path / "live")
    assert content(tmp_path / "live") == {"settings=fresh"}
