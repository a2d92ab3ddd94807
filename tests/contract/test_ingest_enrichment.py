"""The enrichment vectors: geography, user agent, bots, attribution, locale [ingestion 5 to 8]."""

from typing import Any

import pytest

from appliance.domain.ingest.attribution import (
    Known,
    attribute,
    derive,
    is_google,
    is_paid_medium,
    normalise_locale,
)
from appliance.domain.ingest.chain import ENRICHMENT, Draft, run_steps
from appliance.domain.ingest.geo import locate
from appliance.domain.ingest.user_agent import read_user_agent
from appliance.domain.ingest.validate import check_batch
from tests.support.clocks import FixedClock
from tests.support.properties import batch_of, facts_of, properties_of, typed, wire_event
from tests.support.vectors import cases_of

_SNAKE = {
    "url": "url",
    "referrer": "referrer",
    "hostname": "hostname",
    "pathname": "pathname",
    "screenSize": "screen_size",
    "screenWidth": "screen_width",
    "screenHeight": "screen_height",
    "utmSource": "utm_source",
    "utmMedium": "utm_medium",
    "utmCampaign": "utm_campaign",
    "utmTerm": "utm_term",
    "utmContent": "utm_content",
    "referrerDomain": "referrer_domain",
    "channel": "channel",
}


@pytest.mark.parametrize("case", cases_of("attribution"))
def test_attribution_of_text_inputs(case: dict[str, Any]) -> None:
    given = dict(case["in"])
    locale = given.pop("locale", "")
    derived = derive(Known(**{_SNAKE[key]: str(value) for key, value in given.items()}))
    out = {
        key: str(getattr(derived, name)) for key, name in _SNAKE.items() if hasattr(derived, name)
    }
    out["locale"] = normalise_locale(locale)
    assert {key: value for key, value in out.items() if value} == case["out"]


@pytest.mark.parametrize("case", cases_of("attribution_properties"))
def test_attribution_of_properties(case: dict[str, Any]) -> None:
    properties = properties_of(case["before"])
    attribute(properties)
    assert typed(properties) == typed(properties_of(case["after"]))


@pytest.mark.parametrize("case", cases_of("paid_medium"))
def test_paid_medium(case: dict[str, Any]) -> None:
    assert is_paid_medium(case["in"].lower()) is case["out"]


@pytest.mark.parametrize("case", cases_of("google_host"))
def test_google_host(case: dict[str, Any]) -> None:
    assert is_google(case["in"]) is case["out"]


@pytest.mark.parametrize("case", cases_of("locale"))
def test_locale(case: dict[str, Any]) -> None:
    assert normalise_locale(case["in"]) == case["out"]


@pytest.mark.parametrize("case", cases_of("geo_headers"))
def test_geo_headers(case: dict[str, Any]) -> None:
    found = locate(facts_of(case["headers"]).headers).properties
    assert typed(found) == typed(properties_of(case["out"]))


@pytest.mark.parametrize("case", cases_of("user_agent"))
def test_user_agent(case: dict[str, Any]) -> None:
    found = dict(read_user_agent(case["in"]).properties)
    assert typed(found) == typed(properties_of(case["out"]))


@pytest.mark.parametrize("case", cases_of("enrichment"))
def test_whole_enrichment(case: dict[str, Any]) -> None:
    events = check_batch(batch_of({"events": [wire_event(autoProperties=case["before"])]}))
    passage = run_steps(
        ENRICHMENT, Draft(events=events), facts_of(case["headers"]), clock=FixedClock()
    )
    assert typed(passage.draft.events[0].auto_properties) == typed(properties_of(case["after"]))
    assert [report.name.value for report in passage.reports] == [
        "geo",
        "user_agent",
        "bots",
        "attribution",
    ]
