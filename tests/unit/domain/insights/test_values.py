"""Numbers written as text [insights 4.3]."""

import pytest

from appliance.domain.insights.values import parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [("5", 5.0), ("-2.5", -2.5), ("+1e1", 10.0), ("5.", 5.0), (".5", 0.5), ("1E-3", 0.001)],
)
def test_a_whole_text_is_a_number(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 5",
        "5 ",
        "0x10",
        "1_000",
        "1,5",
        "nan",
        "inf",
        "1e",
        "--5",
        ".",
        "+",
        "1e400",
        "\u0665",
    ],
)
def test_anything_else_is_text(text: str) -> None:
    """No blanks, no separators, no hexadecimal; nothing that would hide the other numbers."""
    assert parse_number(text) is None
