"""What every branch of the settings is made of.

Invariant: a branch is immutable and refuses keys it does not know; a field names its environment
variables itself. The branches are in `model.py` and `people.py`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A branch of the tree: immutable, and an unknown key in it is an error."""


def env_names(*names: str) -> dict[str, tuple[str, ...]]:
    """The environment variables that set a field, the preferred one first."""
    return {"env": names}
