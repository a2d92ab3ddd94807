"""Named spans of boards by the vectors [dashboards 4]."""

from datetime import datetime

import pytest

from appliance.domain.dashboards.windows import parse_preset, resolve_preset, zone_or_utc
from tests.support.insight_vectors import Json, load_section


@pytest.mark.parametrize("case", load_section("preset_windows"), ids=lambda case: case["id"])
def test_preset_windows(case: Json) -> None:
    now = datetime.fromisoformat(str(case["now"]))
    zone = zone_or_utc(str(case["timezone"]))
    found = resolve_preset(parse_preset(str(case["preset"])), now, zone)
    assert found == (datetime.fromisoformat(str(case["from"])), now), case["why"]
