"""The demo's story: repeatable, plausible, and of the shape that is asked for [workers 6.3]."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from appliance.domain.ingest.event import Batch, Event
from appliance.domain.ingest.validate import check_batch
from appliance.domain.shop.catalogue import CATEGORIES, PRODUCTS
from appliance.domain.shop.crowd import BACKFILL_DAYS, Crowd
from appliance.domain.shop.devices import DAY_MS, DEVICES, EPOCH_MS, Kind, release_at, release_on
from appliance.domain.shop.journeys import APP, WEB
from appliance.domain.shop.places import CITIES
from appliance.domain.shop.rhythm import busyness, is_promotion, is_push_day
from appliance.domain.shop.shoppers import SHOPPERS, number_of, shopper, traits_of
from appliance.domain.shop.visits import Visit, bot_visit

END = datetime(2026, 5, 10, 9, tzinfo=UTC)
END_MS = int(END.timestamp() * 1000)
EVENTS = 60_000


def time_of(event: Event) -> int:
    assert event.occur_time_ms is not None
    return event.occur_time_ms


@pytest.fixture(scope="module")
def visits() -> list[Visit]:
    return list(Crowd().tell(END, EVENTS))


@pytest.fixture(scope="module")
def events(visits: list[Visit]) -> list[Event]:
    return [event for visit in visits for event in visit.events]


def share(part: int, whole: int) -> float:
    return part / whole


def test_the_same_end_tells_the_same_story() -> None:
    one, two = (list(Crowd(200).tell(END, 2000)) for _ in range(2))
    assert one == two
    other = list(Crowd(200).tell(END + timedelta(hours=1), 2000))
    ids, others = ({e.event_id for v in told for e in v.events} for told in (one, other))
    newcomers = {
        e.event_id for v in Crowd(200).newcomers(0, END_MS + DAY_MS) for e in v.events
    }  # the first visit of somebody is the same one whoever tells it
    assert ids & others <= newcomers


def test_there_are_enough_events_and_none_lies_outside(events: Sequence[Event]) -> None:
    assert EVENTS <= len(events) < EVENTS * 1.01
    assert len({event.event_id for event in events}) == len(events)
    assert max(map(time_of, events)) <= END_MS
    assert min(map(time_of, events)) > END_MS - (BACKFILL_DAYS + 2) * DAY_MS


def test_every_event_passes_the_rules_of_ingest(events: Sequence[Event]) -> None:
    for start in range(0, 5000, 500):
        assert len(check_batch(Batch(events=tuple(events[start : start + 500])))) == 500


def test_nobody_comes_before_their_first_visit(visits: Sequence[Visit]) -> None:
    """Nor after they have gone; signing up happens once, in the first visit."""
    signed_up = Counter[int]()
    for visit in visits:
        who, first = visit.shopper, visit.events[0]
        if who is None:
            continue
        assert who.first_ms <= time_of(first) < who.gone_ms
        assert first.distinct_id == who.id_at(time_of(first))
        signed_up[who.number] += sum(event.kind == "signup" for event in visit.events)
    assert max(signed_up.values()) == 1
    late = {who for who in map(shopper, signed_up) if who.first_ms > END_MS - 60 * DAY_MS}
    assert late
    assert all(signed_up[who.number] == 1 for who in late if who.first_ms < END_MS - DAY_MS)


def test_bots_are_few_and_scored_low(visits: Sequence[Visit]) -> None:
    bots = [visit for visit in visits if visit.shopper is None]
    assert 0.015 < share(len(bots), len(visits)) < 0.035
    for visit in bots:
        assert 1 <= len(visit.events) <= 5
        assert {event.kind for event in visit.events} == {"page_view"}
        assert all(event.distinct_id.startswith("bot-") for event in visit.events)
        assert 1 <= visit.bot_score <= 28
    assert {visit.verified for visit in bots} == {True, False}
    people = [visit for visit in visits if visit.shopper is not None]
    assert all(70 <= visit.bot_score <= 99 and visit.verified is None for visit in people)
    assert bot_visit("a", 1) == bot_visit("a", 1)


def test_carts_go_through_the_funnel_whole(events: Sequence[Event]) -> None:
    """Ids and amounts fit together, and nothing is used before it happened."""
    by_kind: defaultdict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=time_of):
        by_kind[event.kind].append(event)
    kinds = ("product_viewed", "add_to_cart", "checkout_started", "purchase")
    assert all(len(by_kind[before]) > len(by_kind[after]) > 0 for before, after in pairwise(kinds))
    filled: dict[object, int] = {}
    for event in by_kind["add_to_cart"]:
        filled.setdefault(event.custom_properties["cartId"], time_of(event))
    for event in by_kind["checkout_started"]:
        assert filled[event.custom_properties["cartId"]] < time_of(event)
    paid = {event.custom_properties["orderId"]: event for event in by_kind["purchase"]}
    assert len(paid) == len(by_kind["purchase"])
    for event in by_kind["order_refunded"]:
        order = paid[event.custom_properties["orderId"]]
        assert time_of(order) < time_of(event)
        assert order.custom_properties["amount"] == event.custom_properties["amount"]
    returned = {
        event.session_id
        for event in by_kind["purchase"]
        if filled[event.custom_properties["cartId"]] < time_of(event) - 3_600_000
    }
    assert returned


def test_steps_take_their_time(visits: Sequence[Visit]) -> None:
    for visit in visits[:2000]:
        gaps = [time_of(b) - time_of(a) for a, b in pairwise(visit.events)]
        assert all(0 < gap <= 106_000 for gap in gaps)
        if visit.shopper is None:
            continue
        assert len({event.session_id for event in visit.events}) == 1


def test_apps_do_what_apps_do(visits: Sequence[Visit]) -> None:
    for visit in visits:
        kinds = {event.kind for event in visit.events}
        platform = visit.events[0].auto_properties["$platform"]
        assert len({event.auto_properties["$platform"] for event in visit.events}) == 1
        if platform == "web":
            assert not kinds & {"screen_view", "app_open", "app_install", "app_crashed"}
        else:
            assert not kinds & {"page_view", "scroll", "rage_click"}
            assert "$appVersion" in visit.events[0].auto_properties
        if visit.shopper is not None and not visit.shopper.is_member:
            assert not kinds & {"notification_clicked", "nps_submitted", "order_refunded"}


def test_the_world_has_the_size_that_is_asked_for() -> None:
    assert (len(CITIES), len(DEVICES), len(PRODUCTS), len(CATEGORIES)) == (56, 19, 46, 6)
    assert len({product.brand for product in PRODUCTS}) == 6
    assert len({product.slug for product in PRODUCTS}) == 46
    assert {city.continent for city in CITIES} == {"AF", "AS", "EU", "NA", "OC", "SA"}
    assert (len(WEB), len(APP)) == (22, 13)
    weights = Counter[Kind]()
    for device in DEVICES:
        weights[device.kind] += device.weight
    assert weights == {Kind.DESKTOP: 52, Kind.MOBILE: 22, Kind.APP: 29}


def test_shoppers_have_the_shares_that_are_asked_for() -> None:
    people = [shopper(number) for number in range(SHOPPERS)]
    named = [one for one in people if one.named_ms is not None]
    assert 0.58 < share(len(named), SHOPPERS) < 0.62
    assert 0.27 < share(sum(one.was_stranger for one in named), len(named)) < 0.33
    assert 0.28 < share(sum(one.is_member for one in people), SHOPPERS) < 0.32
    loyal = sum(one.gone_ms - one.first_ms > 2000 * DAY_MS for one in people)
    assert 0.38 < share(loyal, SHOPPERS) < 0.42
    assert {len(one.devices) for one in people} == {1, 2, 3}
    assert 0.32 < share(sum(len(one.devices) > 1 for one in people), SHOPPERS) < 0.38
    assert min(one.activity for one in people) >= 0.25
    assert max(one.activity for one in people) <= 12
    assert all(EPOCH_MS <= one.first_ms < EPOCH_MS + 1100 * DAY_MS for one in people)
    rich = [one for one in people if "loyaltyPoints" in traits_of(one)]
    assert 0.18 < share(len(rich), SHOPPERS) < 0.22


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("user-00012", 12),
        ("cust_000012", 12),
        ("user-09999", 9999),
        ("cust_010000", None),
        ("bot-0001", None),
        ("user-", None),
        ("", None),
    ],
)
def test_ids_tell_who_it_is(name: str, number: int | None) -> None:
    assert number_of(name) == number
    if number is not None:
        assert name in {shopper(number).stranger_id, shopper(number).external_id}


def test_days_and_hours_differ(visits: Sequence[Visit]) -> None:
    """A Saturday is busier than a Tuesday, a sale than the weeks around it, a day than a night."""
    days = Counter(
        datetime.fromtimestamp(time_of(visit.events[0]) // 1000, tz=UTC).date() for visit in visits
    )
    whole = [day for day in days if END.date() - timedelta(days=100) < day < END.date()]

    def mean(chosen: Sequence[date]) -> float:
        return sum(days[day] for day in chosen) / len(chosen)

    usual = [day for day in whole if not is_promotion(day)]
    saturdays, tuesdays = ([d for d in usual if d.weekday() == number] for number in (5, 1))
    assert 1.3 < mean(saturdays) / mean(tuesdays) < 2.1
    assert mean([day for day in whole if is_promotion(day)]) > 1.2 * mean(usual)
    assert any(map(is_push_day, whole))
    noon, night = (datetime(2026, 5, 12, hour, tzinfo=UTC) for hour in (20, 3))
    assert 0 < busyness(night) < 0.3 * busyness(noon) <= 1


def test_releases_come_and_are_taken() -> None:
    """Soon after a release most have it; eight weeks later nearly all."""
    fresh_ms = EPOCH_MS + 5 * 56 * DAY_MS
    assert release_at(fresh_ms) == 5
    owners = [f"cust_{number:06d}" for number in range(500)]

    def having(at_ms: int) -> float:
        return share(sum(release_on(owner, at_ms) >= 5 for owner in owners), len(owners))

    assert having(fresh_ms) < 0.05
    assert 0.6 < having(fresh_ms + 5 * DAY_MS) < 0.95
    assert having(fresh_ms + 55 * DAY_MS) > 0.95


def test_live_visitors_are_around_and_newcomers_come_once() -> None:
    crowd = Crowd()
    found = [crowd.visit(f"live/{number}", END_MS + number) for number in range(200)]
    assert sum(visit is not None for visit in found) > 190
    assert all(v.shopper and v.shopper.is_around(END_MS) for v in found if v is not None)
    day = list(crowd.newcomers(END_MS, END_MS + DAY_MS))
    halves = [
        *crowd.newcomers(END_MS, END_MS + DAY_MS // 2),
        *crowd.newcomers(END_MS + DAY_MS // 2, END_MS + DAY_MS),
    ]
    names = [[visit.shopper.number for visit in told if visit.shopper] for told in (day, halves)]
    assert names[0] == names[1]
    assert 3 < len(day) < 30
    assert all("signup" in {event.kind for event in visit.events} for visit in day)


def test_a_small_crowd_has_few_people() -> None:
    told = list(Crowd(50).tell(END, 600))
    people = {visit.shopper.number for visit in told if visit.shopper}
    assert people <= set(range(50))
    assert 600 <= sum(len(visit.events) for visit in told) < 720
