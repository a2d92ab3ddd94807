"""Roles of members, each containing the one below [services 4]."""

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What a member may do in an organisation."""

    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"

    @property
    def stored(self) -> str:
        """The name in the database and on the wire."""
        return f"{_PREFIX}{self.name}"

    @classmethod
    def from_stored(cls, text: str) -> "Role":
        """The role of a stored name; raises ValueError for any other text."""
        return cls(text.removeprefix(_PREFIX).lower())


_PREFIX: Final = "ORG_ROLE_"
