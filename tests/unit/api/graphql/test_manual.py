"""docs/graphql.md says what the code does."""

import re
from pathlib import Path

from appliance.api.graphql import answers, door, limits
from appliance.api.graphql.schema import build_schema

MANUAL = (Path(__file__).resolve().parents[4] / "docs" / "graphql.md").read_text()


def test_the_schema_of_the_manual_is_current() -> None:
    """Put the text of `build_schema(...).as_str()` into the last block after a change."""
    blocks = re.findall(r"^```graphql\n(.*?)^```$", MANUAL, flags=re.DOTALL | re.MULTILINE)
    schema = build_schema(development=False, extensions=[])
    assert blocks[-1].strip() == schema.as_str().strip()


def test_the_limits_of_the_manual_are_current() -> None:
    told = " ".join(MANUAL.partition("## Limits")[2].partition("##")[0].split())
    for text in (
        f"{door.BODY_BYTES_MAX >> 10} KiB a request",
        f"{limits.TOKENS_MAX} tokens",
        f"depth {limits.DEPTH_MAX}",
        f"{limits.ALIASES_MAX} aliases",
        f"{limits.FRAGMENTS_MAX} fragments",
        f"a cost of {limits.COST_MAX:,}",
        f"{limits.PAIRS_MAX:,} pairs",
        f"{door.ANSWER_SECONDS_MAX:g} seconds",
        f"{limits.ENGINE_COST} more for an insight",
        f"{limits.SEARCH_COST} more for a search",
    ):
        assert text in told, text
    assert f"more than {answers.POINTS_MAX:,} points" in MANUAL
    assert f"1 to {limits.PAGE_MAX}, {limits.PAGE_DEFAULT} by itself" in MANUAL


def test_every_reason_of_ours_is_explained() -> None:
    folder = Path(limits.__file__).parent
    found = set[str]()
    for module in folder.glob("*.py"):
        found |= set(re.findall(r'^\s*"([A-Z]+(?:_[A-Z]+)+)",', module.read_text(), re.MULTILINE))
        found |= set(re.findall(r'Error\(\s*"([A-Z]+(?:_[A-Z]+)+)"', module.read_text()))
    ours = {
        each for each in found if each.startswith(("GRAPHQL_", "ANSWER_", "CSRF_", "INVALID_P"))
    }
    assert ours
    assert [each for each in ours if f"`{each}`" not in MANUAL] == []
