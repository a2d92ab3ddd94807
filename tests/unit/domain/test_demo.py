"""The invented story is repeatable and plausible."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from appliance.domain.demo import Story, tell
from appliance.domain.ingest.event import decode_batch
from appliance.services.demo import encode_batch

END = datetime(2026, 5, 10, 9, tzinfo=UTC)
STORY = Story(seed=1, end=END, days=14, sessions=500)


def test_the_same_story_has_the_same_events() -> None:
    """Sent twice it must count once."""
    assert list(tell(STORY)) == list(tell(STORY))


@pytest.mark.parametrize("other", [{"seed": 2}, {"days": 15}, {"sessions": 499}])
def test_another_story_shares_no_event(other: dict[str, int]) -> None:
    """Two seeds side by side do not swallow each other."""
    story = Story(**{"seed": 1, "days": 14, "sessions": 500, **other}, end=END)
    first, second = ({event.event_id for event in tell(told)} for told in (STORY, story))
    assert first.isdisjoint(second)


def test_events_lie_in_the_window_and_form_a_funnel() -> None:
    """Nothing in the future, nothing before the window, fewer buyers than lookers."""
    events = list(tell(STORY))
    latest = END.timestamp() * 1000
    assert all(latest - 15 * 86_400_000 < (event.occur_time_ms or 0) <= latest for event in events)
    kinds = Counter(event.kind for event in events)
    assert kinds["product_viewed"] > kinds["add_to_cart"] > kinds["purchase"] > 0
    assert len({event.event_id for event in events}) == len(events)


def test_the_story_travels_as_the_sdks_send_it() -> None:
    """The JSON that is posted decodes to the very same events."""
    events = tuple(tell(STORY))[:100]
    assert decode_batch(encode_batch(events)).events == events
