"""What the scheduler is told about backups and the certificate."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.cli.scheduler_hands import reminders_of, told_backups
from appliance.config.model import Settings
from appliance.lifecycle.backup.note import load_newest, note_newest
from appliance.lifecycle.layout import Layout
from tests.support.clocks import FixedClock
from tests.support.doctor_facts import NOW, changed, healthy


def test_nothing_to_remind_of() -> None:
    assert reminders_of(healthy()) == ()


def test_old_backup_and_expiring_certificate() -> None:
    """Both are told with cause and remedy; other findings of the doctor are not ours."""
    facts = changed(
        backups__targets=(),
        certificate__days_left=9,
        stores__postgres_wraparound=2_000_000_000,
    )
    found = {one.check: one for one in reminders_of(facts)}
    assert set(found) == {"backup-age", "certificate"}
    assert "no backup at all" in found["backup-age"].cause
    assert "9 days from now" in found["certificate"].cause
    assert "tls import" in found["certificate"].remedy


@pytest.mark.parametrize(("hours", "reminded"), [(7, False), (7 * 24 + 1, True)])
def test_noted_backup(tmp_path: Path, hours: int, *, reminded: bool) -> None:
    """Who may not look into the targets knows the newest backup by its note."""
    settings = Settings(data_dir=tmp_path)
    note_newest(settings, FixedClock(NOW - timedelta(hours=hours)))
    assert (tmp_path / "newest-backup").stat().st_mode & 0o777 == 0o644
    told = told_backups(settings, None)
    found = reminders_of(changed(backups=told))
    assert [one.check for one in found] == (["backup-age"] if reminded else [])


def test_no_note(tmp_path: Path) -> None:
    """Without a note nothing is claimed before an installation is two days old."""
    settings = Settings(data_dir=tmp_path)
    layout = Layout(prefix=tmp_path / "prefix", data_dir=tmp_path)
    assert told_backups(settings, layout).first_use is None
    layout.layout_file.parent.mkdir(parents=True)
    layout.save()
    first = told_backups(settings, layout).first_use
    assert first is not None
    assert first.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "2026-05-10T02:00:00", "\x00"])
def test_damaged_note(tmp_path: Path, text: str) -> None:
    (tmp_path / "newest-backup").write_text(text)
    assert load_newest(Settings(data_dir=tmp_path)) is None


def test_note(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert load_newest(settings) is None
    note_newest(settings, FixedClock())
    assert load_newest(settings) == datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
