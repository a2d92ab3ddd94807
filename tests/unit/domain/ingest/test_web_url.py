"""URL rules beyond the shared vectors [ingestion 8.3]."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain.ingest import web_url
from appliance.domain.ingest.attribution import attribute
from appliance.domain.ingest.web_url import ParsedUrl, parse_url, query_values


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("https://a.test", ParsedUrl("https", "a.test", "", "")),
        ("https://A.test/x%2Fy?q=%zz", ParsedUrl("https", "a.test", "/x/y", "q=%zz")),
        ("https://u:p@a.test:80/", ParsedUrl("https", "a.test", "/", "")),
        ("https://a@b@c.test/", ParsedUrl("https", "c.test", "/", "")),
        ("https://[2001:DB8::7]:9/a", ParsedUrl("https", "2001:db8::7", "/a", "")),
        ("//a.test/x", ParsedUrl("", "a.test", "/x", "")),
        ("///a.test/x", ParsedUrl("", "", "///a.test/x", "")),
        ("https:a.test/x", ParsedUrl("https", "", "", "")),
        ("about:blank", ParsedUrl("about", "", "", "")),
        ("HTTP://bücher.test/", ParsedUrl("http", "bücher.test", "/", "")),
        ("https://b%C3%BCcher.test/", ParsedUrl("https", "bücher.test", "/", "")),
        ("https://a.test/a b", ParsedUrl("https", "a.test", "/a b", "")),
        ("x/y:z", ParsedUrl("", "", "x/y:z", "")),
    ],
)
def test_parses(text: str, parsed: ParsedUrl) -> None:
    assert parse_url(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "https://a.test/\n",
        "https://a.test/%zz",
        "https://a.test/#%zz",
        " https://a.test/",
        ":x",
        "a b:c",
        "https://a.test:8x/",
        "https://a:1:2/",
        "https://a b.test/",
        "https://a%41.test/",
        "https://u ser@a.test/",
        "https://u%z@a.test/",
        "https://[2001:db8::7/",
        "https://[zz]/",
        "https://a.test\\x/",
    ],
)
def test_does_not_parse(text: str) -> None:
    assert parse_url(text) is None


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_the_quick_pattern_never_decides_differently(rest: str) -> None:
    """What the quick pattern accepts, the careful reading reads the same."""
    for text in (f"https://a.test{rest}", f"http://{rest}", rest):
        quick = web_url._PLAIN.fullmatch(text)
        if quick is not None:
            careful = web_url.parse_carefully(text)
            assert careful == parse_url(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_breaks_attribution(text: str) -> None:
    """Any url and referrer derive something or nothing, storable and not longer than it was."""
    properties: dict[str, object] = {"$url": f"https://{text}", "$referrer": text, "$locale": text}
    attribute(properties)  # type: ignore[arg-type]
    assert all(len(str(value).encode()) >= 0 for value in properties.values())
    assert len(str(properties.get("$pathname", ""))) <= len(text) + 1


def test_the_first_pair_counts_even_when_empty() -> None:
    names = frozenset({"utm_source", "utm_medium"})
    found = query_values("utm_source=&utm_source=a&utm%5Fmedium=x+y%21&utm_medium=z", names)
    assert found == {"utm_source": "", "utm_medium": "x y!"}
