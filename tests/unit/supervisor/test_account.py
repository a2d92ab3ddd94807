"""Who may pass through a folder, and who may not."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from appliance.supervisor.account import (
    choose_account,
    grant_passage,
    listed_account,
    may_read,
    own_folder,
    own_tree,
    revoke_passage,
)
from appliance.supervisor.spec import Account

SOMEBODY = Account(uid=64950, gid=64950)
OTHER = Account(uid=64951, gid=64951)
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives rights away")


@pytest.fixture
def closed(tmp_path: Path) -> Generator[Path]:
    """A readable file behind a folder that is closed to others."""
    inside = tmp_path / "closed" / "file"
    inside.parent.mkdir(mode=0o700)
    inside.write_text("x")
    inside.chmod(0o644)
    before = grant_passage(tmp_path / "closed", SOMEBODY)
    yield inside
    revoke_passage(before)


def test_passage_is_granted_to_one_and_taken_back(closed: Path) -> None:
    """Nobody else gets through, the folder cannot be listed, and in the end all is as before."""
    assert not may_read(closed, SOMEBODY)
    granted = grant_passage(closed, SOMEBODY)
    assert [passage.folder for passage in granted] == [closed.parent]
    assert may_read(closed, SOMEBODY)
    assert not may_read(closed, OTHER)
    assert not may_read(closed.parent, SOMEBODY)
    assert grant_passage(closed, SOMEBODY) == ()
    second = grant_passage(closed, OTHER)
    assert may_read(closed, SOMEBODY)
    revoke_passage(second)
    revoke_passage(granted)
    assert not may_read(closed, SOMEBODY)
    assert closed.parent.stat().st_mode & 0o777 == 0o700
    assert os.listxattr(closed.parent) == []


def test_a_file_of_root_only_is_not_readable(closed: Path) -> None:
    """Passing through is not reading."""
    grant_passage(closed, SOMEBODY)
    closed.chmod(0o600)
    assert not may_read(closed, SOMEBODY)
    own_folder(closed, SOMEBODY, mode=0o600)
    assert may_read(closed, SOMEBODY)
    assert not may_read(closed.with_name("missing"), SOMEBODY)


def test_a_group_member_counts_as_such(closed: Path) -> None:
    """The group's bits, not those of others."""
    grant_passage(closed, SOMEBODY)
    closed.chmod(0o604)
    os.chown(closed, 0, SOMEBODY.gid)
    assert not may_read(closed, SOMEBODY)


def test_the_owner_of_an_engines_folder_stays(tmp_path: Path) -> None:
    """A moved installation keeps its account; else it is one without an entry, or `pug`."""
    chosen = choose_account((tmp_path / "missing", tmp_path))
    assert chosen is not None
    assert chosen.uid != 0
    own_tree(tmp_path, SOMEBODY)
    assert choose_account((tmp_path,)) == SOMEBODY
    assert listed_account().uid != 0
