"""Durations and sizes as people write them."""

import pytest

from appliance.base.units import Bytes, Seconds


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("250ms", 0.25, "250ms"),
        ("30s", 30, "30s"),
        ("90s", 90, "90s"),
        ("5m", 300, "5m"),
        ("1.5h", 5400, "90m"),
        ("7d", 604800, "7d"),
    ],
)
def test_durations_are_read_and_printed(text: str, seconds: float, printed: str) -> None:
    """What is printed means what was read."""
    parsed = Seconds.parse(text)
    assert parsed == seconds
    assert str(parsed) == printed
    assert Seconds.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "size", "printed"),
    [
        ("512B", 512, "512B"),
        ("64MiB", 64 << 20, "64MiB"),
        ("4 GiB", 4 << 30, "4GiB"),
        ("500MB", 500_000_000, "500000000B"),
        ("1.5KiB", 1536, "1536B"),
    ],
)
def test_sizes_are_read_and_printed(text: str, size: int, printed: str) -> None:
    """What is printed means what was read."""
    parsed = Bytes.parse(text)
    assert parsed == size
    assert str(parsed) == printed
    assert Bytes.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1 fortnight", "0x10B", "1s2", "1_0s"])
def test_a_quantity_without_its_unit_is_refused(text: str) -> None:
    """A bare number is no quantity."""
    with pytest.raises(ValueError, match="a number with one of"):
        Seconds.parse(text)
    with pytest.raises(ValueError, match="a number with one of"):
        Bytes.parse(text)
