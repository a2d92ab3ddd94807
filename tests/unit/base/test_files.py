"""Whole files, exact modes, locks that end with their holder."""

import os
from pathlib import Path

import pytest

from appliance.base.errors import ConflictError, MisconfiguredError
from appliance.base.files import FileLock, ensure_folder, unwritable, write_atomic


def test_a_file_is_replaced_whole_with_its_mode(tmp_path: Path) -> None:
    """Content and mode are as asked, and nothing is left beside it."""
    path = tmp_path / "secret"
    write_atomic(path, b"one")
    write_atomic(path, b"two", mode=0o640)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """The strictest and the laxest umask give the same modes."""
    for mask in (0o077, 0o000):
        before = os.umask(mask)
        try:
            folder = ensure_folder(tmp_path / f"a{mask}" / "b", mode=0o750)
            write_atomic(folder / "file", b"", mode=0o644)
        finally:
            os.umask(before)
        assert folder.stat().st_mode & 0o777 == 0o750
        assert (folder / "file").stat().st_mode & 0o777 == 0o644


def test_an_existing_folder_gets_its_mode_back(tmp_path: Path) -> None:
    """A loosened private folder is tightened again."""
    folder = ensure_folder(tmp_path / "private")
    folder.chmod(0o755)
    ensure_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    """The error names the path and the remedy."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(MisconfiguredError, match="choose another data_dir") as caught:
        ensure_folder(tmp_path / "taken" / "below")
    assert str(tmp_path / "taken" / "below") in str(caught.value)
    with pytest.raises(MisconfiguredError, match="taken"):
        write_atomic(tmp_path / "taken" / "file", b"")


def test_a_full_disk_and_a_read_only_one_have_their_own_remedies() -> None:
    """What to do depends on why it failed."""
    assert "free space" in str(unwritable(Path("/x"), OSError(28, "")))
    assert "read-only" in str(unwritable(Path("/x"), OSError(30, "")))
    assert "permissions" in str(unwritable(Path("/x"), OSError(5, "")))


def test_a_held_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    """Two holders at once are impossible; a released lock can be taken."""
    path = tmp_path / "appliance.lock"
    with FileLock(path), pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        FileLock(path).acquire()
    second = FileLock(path)
    second.acquire()
    second.release()
    second.release()
