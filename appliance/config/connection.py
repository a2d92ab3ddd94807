"""`connection.json`: how a script reaches the running stack.

Invariant: one file, mode 0600, replaced whole; its four fields keep their names.
"""

from pathlib import Path

import msgspec

from appliance.base.errors import NotFoundError
from appliance.base.files import write_atomic


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Where the API answers, the first project and its keys."""

    url: str
    project_id: str
    public_key: str
    private_key: str


def save_connection(path: Path, connection: Connection) -> None:
    """Write the file, readable by its owner only."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(connection), indent=2) + b"\n")


def load_connection(path: Path) -> Connection:
    """Read the file; raises NotFoundError when there is none, or none of ours."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Connection)
    except (OSError, msgspec.DecodeError) as error:
        raise NotFoundError(
            "CONNECTION_MISSING",
            f"{path} cannot be used",
            hint="start the stack with ./scripts/run, or name --url and --key-file",
        ) from error
