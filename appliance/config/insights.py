"""Settings of insights.

Invariant: as in `model.py`, of whose tree this is a branch. Nothing here changes what is stored.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from appliance.config.section import Section


class UserFlowForm(StrEnum):
    """What the nodes of a user flow are."""

    CLASSIC = "classic"
    LAYERED = "layered"


class InsightSettings(Section, frozen=True, kw_only=True):
    """How questions are answered."""

    user_flow: Annotated[
        UserFlowForm,
        Meta(
            description="classic: a node is a name, wherever in a session it lies; layered: a "
            "node is a name at a depth, as newer dashboards draw it"
        ),
    ] = UserFlowForm.CLASSIC
