"""Which source is written on events [ingestion 5]."""

from appliance.domain.ingest.chain import Draft, write_geography
from appliance.domain.ingest.event import Properties
from appliance.domain.ingest.facts import RequestFacts
from appliance.domain.ingest.validate import check_batch
from tests.support.properties import batch_of, wire_event

PLACE: Properties = {"$country": "AT", "$city": "Graz", "$site": "Works"}


def written(sent: dict[str, str], headers: dict[str, str], place: Properties) -> Properties:
    auto = {key: {"stringValue": value} for key, value in sent.items()}
    events = check_batch(batch_of({"events": [wire_event(autoProperties=auto)]}))
    facts = RequestFacts(headers=headers, place=place)
    return write_geography(Draft(events=events), facts).events[0].auto_properties


def test_the_place_of_the_address_overwrites_what_the_client_says() -> None:
    sent = {"$country": "US", "$region": "Texas", "$ip": "203.0.113.7"}
    assert written(sent, {}, PLACE) == {**PLACE, "$region": "Texas"}


def test_without_a_place_the_clients_words_stay() -> None:
    """A sentinel of the network is no place either."""
    assert written({"$country": "US"}, {"cf-ipcountry": "XX"}, {}) == {"$country": "US"}


def test_headers_that_name_a_place_are_believed_alone() -> None:
    """The city of the address does not stand beside the country of the headers; the site does."""
    assert written({}, {"cf-ipcountry": "DE"}, PLACE) == {"$country": "DE", "$site": "Works"}
    assert written({}, {"cf-ipcountry": "DE"}, {"$city": "Graz"}) == {"$country": "DE"}


def test_headers_that_name_no_place_leave_it_to_the_address() -> None:
    assert written({}, {"cf-ipcountry": "XX", "cf-region": "Unknown"}, PLACE) == PLACE
