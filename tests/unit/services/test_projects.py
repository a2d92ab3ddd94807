"""Names, zones, masks, months: what projects and keys are decided by."""

from datetime import UTC, date, datetime

import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import InvalidInputError
from appliance.base.ids import IdMaker
from appliance.services.keys import lookup_token, make_key, mask_key
from appliance.services.projects import check_name, check_text, check_timezone, known_timezone
from appliance.services.usage import day_after, month_around
from appliance.storage.postgres.projects import KeyKind


@pytest.mark.parametrize(
    ("text", "stored"),
    [("", ""), ("UTC", ""), ("Europe/Vienna", "Europe/Vienna"), ("Etc/GMT+5", "Etc/GMT+5")],
)
def test_zones(text: str, stored: str):
    assert check_timezone(text) == stored
    assert known_timezone(text) == stored


@pytest.mark.parametrize(
    "text",
    ["Mars/Olympus", "../../etc/passwd", "Europe", "posixrules", "localtime", "x" * 65, "a b", "/"],
)
def test_what_is_no_zone(text: str):
    """Strict where a person chooses, UTC where a project is only made [services 3.10, 6.3]."""
    with pytest.raises(InvalidInputError) as caught:
        check_timezone(text)
    assert caught.value.reason == "INVALID_TIMEZONE"
    assert "timezone" in caught.value.message
    assert known_timezone(text) == ""


def test_names():
    assert check_name("  Shop ") == "Shop"
    assert len(check_name("x" * 150)) == 150
    for text in ("", "  ", "x" * 151, "a\0"):
        with pytest.raises(InvalidInputError) as caught:
            check_name(text)
        assert caught.value.violations[0].field == "display_name"
    assert check_text("", 10) == ""


@pytest.mark.parametrize("kind", list(KeyKind))
def test_keys_of_a_kind(kind: KeyKind):
    """Prefix, 24 characters, masked, looked up by itself or its hash [services 3.4]."""
    made = make_key(IdMaker(SystemClock()), kind, "")
    text = made.key.reveal()
    assert len(text) == 24
    assert text.startswith("pub_" if kind is KeyKind.PUBLIC else "prv_")
    assert made.fresh.masked == f"{text[:4]}...{text[-4:]}" == mask_key(text)
    assert made.fresh.token == lookup_token(text)
    assert (made.fresh.token == text) is (kind is KeyKind.PUBLIC)
    assert text not in repr(made) or kind is KeyKind.PUBLIC
    assert mask_key("prv_1234") == "***"


@pytest.mark.parametrize(
    ("now", "first", "after"),
    [
        (datetime(2026, 5, 10, 9, tzinfo=UTC), date(2026, 5, 1), date(2026, 6, 1)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), date(2026, 12, 1), date(2027, 1, 1)),
        (datetime(2028, 2, 29, tzinfo=UTC), date(2028, 2, 1), date(2028, 3, 1)),
    ],
)
def test_months(now: datetime, first: date, after: date):
    assert month_around(now) == (first, after)


def test_a_range_is_widened_to_days():
    midnight = datetime(2026, 5, 10, tzinfo=UTC)
    assert day_after(midnight) == date(2026, 5, 10)
    assert day_after(midnight.replace(microsecond=1)) == date(2026, 5, 11)
    assert day_after(datetime.max.replace(tzinfo=UTC)) == date.max
