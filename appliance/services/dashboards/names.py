"""Choices by their names: how the enumerations of boards and tiles are kept.

Invariant: a choice is kept under the full name that the contract gives it, so that a reader of the
table needs no numbers; a name nobody knows reads as a choice that the caller decides.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

from appliance.gen.common.v1.time_pb import TimeRangePreset
from appliance.gen.dashboard.dashboards.v1.dashboards_pb import (
    ComparePeriod,
    DashboardTileViewMode,
)
from appliance.gen.shared.insights.v1.insights_pb import Granularity

Choice = TypeVar("Choice", ComparePeriod, DashboardTileViewMode, Granularity, TimeRangePreset)

_PREFIXES: Final[Mapping[type, str]] = {
    ComparePeriod: "COMPARE_PERIOD_",
    DashboardTileViewMode: "DASHBOARD_TILE_VIEW_MODE_",
    Granularity: "GRANULARITY_",
    TimeRangePreset: "TIME_RANGE_PRESET_",
}


def kept_name(choice: Choice) -> str:
    """The name under which a choice is kept."""
    return _PREFIXES[type(choice)] + choice.name


def named(kept: str, otherwise: Choice) -> Choice:
    """The choice kept under a name; `otherwise` for none and for a name nobody knows."""
    return next(
        (one for one in type(otherwise) if one and kept_name(one) == kept),
        otherwise,
    )
