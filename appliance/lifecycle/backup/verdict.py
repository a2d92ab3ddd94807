"""What was last found out about a backup, kept beside its manifest for the doctor.

Invariant: a note for people, believed by nobody who restores. A target that cannot be written
keeps none, and that is no failure.
"""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.base.files import write_atomic

_NAME: Final = "verified.json"


class VerdictNote(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a restore brought everything back, and when that was tried."""

    good: bool
    at: datetime


def note_verdict(folder: Path, *, good: bool, at: datetime) -> None:
    """Write what was found out about the backup in this folder."""
    with suppress(MisconfiguredError):
        write_atomic(folder / _NAME, msgspec.json.encode(VerdictNote(good=good, at=at)))


def load_verdict(folder: Path) -> VerdictNote | None:
    """What was last found out, or None."""
    try:
        return msgspec.json.decode((folder / _NAME).read_bytes(), type=VerdictNote)
    except (OSError, msgspec.DecodeError):
        return None
