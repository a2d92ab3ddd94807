"""When the newest backup was made, for those who may not look into its target.

Invariant: the note says an instant and nothing else; whoever makes backups writes it after the
backup is sealed, and a note that is missing or damaged means that nothing is known.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from appliance.base.clock import Clock
from appliance.base.files import write_atomic
from appliance.config.model import Settings

_NAME: Final = "newest-backup"
_MODE: Final = 0o644


def note_newest(settings: Settings, clock: Clock) -> None:
    """Write down that a backup was made now; raises MisconfiguredError when that cannot be."""
    text = clock.now().astimezone(UTC).isoformat(timespec="seconds")
    write_atomic(_path(settings), f"{text}\n".encode(), mode=_MODE)


def load_newest(settings: Settings) -> datetime | None:
    """When the newest backup was made, as far as it is known."""
    try:
        found = datetime.fromisoformat(_path(settings).read_text().strip())
    except (OSError, ValueError):
        return None
    return found if found.tzinfo else None


def _path(settings: Settings) -> Path:
    return settings.folders.root / _NAME
