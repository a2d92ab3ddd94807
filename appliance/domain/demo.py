"""Invented traffic of a fictional plant shop, for `seed`: small, quick, and as much as one likes.

The demo that anybody may look at has a story of its own, with people and their habits: `shop/`.

Invariant: the same story (seed, end, days, size) gives the same events with the same ids, so that
sending it twice counts it once. Nothing here happened; no person, place or shop is real.
"""

import random  # noqa: TID251 a story is random but repeatable; nothing secret comes from it
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Final
from uuid import UUID

import msgspec

from appliance.domain.ingest.event import Event, PropertyValue

SHOP: Final = "https://shop.example"
CURRENCY: Final = "EUR"
_VISITORS_PER_SESSION: Final = 0.4
_FAVOURITES: Final = 1.6
"""Above 1: some visitors come more often than others."""
_IDENTIFIED_SHARE: Final = 0.35
_STEP_SECONDS: Final = (6, 75)
_VISITORS_KEPT: Final = 50_000


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """How much traffic, over which days: `days` whole days that end at `end` (UTC)."""

    seed: int
    end: datetime
    days: int
    sessions: int


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Something the shop sells; `price` in whole currency units."""

    name: str
    category: str
    price: float

    @property
    def slug(self) -> str:
        """The product in an address."""
        return self.name.lower().replace(" ", "-")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a visitor lives."""

    country: str
    city: str
    locale: str


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor uses."""

    browser: str
    os: str
    width: int
    height: int
    mobile: bool


CATALOGUE: Final = (
    Product(name="Window Fern", category="ferns", price=14.5),
    Product(name="Silver Brake", category="ferns", price=19.0),
    Product(name="Desk Cactus", category="succulents", price=8.9),
    Product(name="Night Aloe", category="succulents", price=12.0),
    Product(name="Office Monstera", category="foliage", price=34.0),
    Product(name="Quiet Calathea", category="foliage", price=27.5),
    Product(name="Copper Can", category="tools", price=22.0),
    Product(name="Slow Feed", category="tools", price=6.5),
)
PLACES: Final = (
    Place(country="AT", city="Graz", locale="de-AT"),
    Place(country="NO", city="Bergen", locale="nb-NO"),
    Place(country="PT", city="Porto", locale="pt-PT"),
    Place(country="CA", city="Halifax", locale="en-CA"),
    Place(country="JP", city="Sendai", locale="ja-JP"),
)
DEVICES: Final = (
    Device(browser="Google Chrome", os="Windows", width=1920, height=1080, mobile=False),
    Device(browser="Firefox", os="Linux", width=1680, height=1050, mobile=False),
    Device(browser="Safari", os="macOS", width=1512, height=982, mobile=False),
    Device(browser="Safari", os="iOS", width=390, height=844, mobile=True),
    Device(browser="Google Chrome", os="Android", width=412, height=915, mobile=True),
)
REFERRERS: Final = (
    ("", 40),
    ("https://www.google.com/", 25),
    ("https://duckduckgo.com/", 8),
    ("https://www.reddit.com/r/houseplants", 7),
    ("https://garden-letter.example/april", 6),
)
CAMPAIGNS: Final = ("", "", "", "utm_source=newsletter&utm_medium=email&utm_campaign=spring")
# Sessions by hour of the day: quiet nights, a lunch hill, an evening peak.
HOURS: Final = (1, 1, 1, 1, 1, 2, 3, 5, 7, 8, 8, 9, 10, 9, 8, 8, 8, 9, 11, 13, 12, 9, 5, 2)
WEEKDAYS: Final = (9, 8, 8, 9, 10, 14, 12)
# How deep visits go: of 100, so many leave before each of the steps named below.
DEPTHS: Final = (35, 35, 15, 6, 9)
LOOK, CHOOSE, CHECK_OUT, BUY = range(1, 5)
_HOUR_NUMBERS: Final = range(24)
_HOUR_SHARES: Final = tuple(accumulate(HOURS))
_DEPTH_NUMBERS: Final = range(len(DEPTHS))
_DEPTH_SHARES: Final = tuple(accumulate(DEPTHS))
_REFERRING: Final = tuple(address for address, _ in REFERRERS)
_REFERRER_SHARES: Final = tuple(accumulate(weight for _, weight in REFERRERS))


def tell(story: Story) -> Iterator[Event]:
    """The events of the story, session by session; none lies after its end."""
    dice = random.Random(story.seed)  # noqa: S311 a story, not a secret
    visitors = count_visitors(story)
    end_ms = _milliseconds(story.end)
    days = [story.end - timedelta(days=back) for back in range(story.days)]
    shares = list(accumulate(WEEKDAYS[day.weekday()] for day in days))
    for number in range(story.sessions):
        (day,) = dice.choices(days, cum_weights=shares)
        start = _start(story, dice, day)
        visitor = int(visitors * dice.random() ** _FAVOURITES)
        for event in _session(story, dice, number, visitor, start):
            if event.occur_time_ms is not None and event.occur_time_ms <= end_ms:
                yield event


def count_visitors(story: Story) -> int:
    """How many people a story has."""
    return max(1, int(story.sessions * _VISITORS_PER_SESSION))


def _start(story: Story, dice: random.Random, day: datetime) -> datetime:
    (hour,) = dice.choices(_HOUR_NUMBERS, cum_weights=_HOUR_SHARES)
    moment = day.replace(hour=hour, minute=0, second=0, microsecond=0)
    moment += timedelta(seconds=dice.randrange(3600))
    # What would lie after the end is spread over the days before, so that none stands out.
    back = dice.randint(1, max(1, story.days - 1))
    return moment if moment <= story.end else moment - timedelta(days=back)


def _session(
    story: Story, dice: random.Random, number: int, visitor: int, start: datetime
) -> Iterator[Event]:
    distinct_id, place, device = _visitor(story, visitor)
    session_id = _uuid(story, "s", number)
    (referrer,) = dice.choices(_REFERRING, cum_weights=_REFERRER_SHARES)
    query = dice.choice(CAMPAIGNS)
    moment_ms = _milliseconds(start)
    for step, (kind, path, custom) in enumerate(_journey(dice)):
        automatic: dict[str, PropertyValue] = {
            "$url": f"{SHOP}{path}" + (f"?{query}" if query and step == 0 else ""),
            "$referrer": referrer if step == 0 else f"{SHOP}/",
            "$pageTitle": path.strip("/").replace("/", " · ") or "Plants",
            "$platform": "web",
            "$browser": device.browser,
            "$os": device.os,
            "$mobile": device.mobile,
            "$screenWidth": device.width,
            "$screenHeight": device.height,
            "$country": place.country,
            "$city": place.city,
            "$locale": place.locale,
            "$sdkVersion": "demo",
        }
        yield Event(
            event_id=_uuid(story, "e", number, step),
            kind=kind,
            occur_time_ms=moment_ms,
            distinct_id=distinct_id,
            session_id=session_id,
            auto_properties=automatic,
            custom_properties=custom,
        )
        moment_ms += 1000 * dice.randint(*_STEP_SECONDS)


@lru_cache(maxsize=_VISITORS_KEPT)
def _visitor(story: Story, number: int) -> tuple[str, Place, Device]:
    """Who somebody is: always the same in one story."""
    owner = random.Random(f"{story.seed}/{number}")  # noqa: S311 a story, not a secret
    place, device = owner.choice(PLACES), owner.choice(DEVICES)
    if owner.random() < _IDENTIFIED_SHARE:
        return f"customer-{number:05d}", place, device
    return f"anon-{_uuid(story, 'v', number)}", place, device


Step = tuple[str, str, dict[str, PropertyValue]]


def _journey(dice: random.Random) -> Iterator[Step]:
    """One visit: look around, perhaps look at a product, perhaps buy it."""
    yield "page_view", dice.choice(("/", "/", "/plants", "/care/watering")), {}
    product = dice.choice(CATALOGUE)
    looked: dict[str, PropertyValue] = {
        "productId": product.slug,
        "productName": product.name,
        "category": product.category,
        "price": product.price,
        "currency": CURRENCY,
    }
    address = f"/plants/{product.category}/{product.slug}"
    (depth,) = dice.choices(_DEPTH_NUMBERS, cum_weights=_DEPTH_SHARES)
    if depth < LOOK:
        return
    yield "page_view", address, {}
    yield "product_viewed", address, looked
    if depth < CHOOSE:
        return
    quantity = dice.randint(1, 3)
    yield "add_to_cart", address, {**looked, "quantity": quantity}
    if depth < CHECK_OUT:
        return
    amount = round(product.price * quantity, 2)
    paid: dict[str, PropertyValue] = {"amount": amount, "currency": CURRENCY}
    yield "page_view", "/checkout", {}
    yield "checkout_started", "/checkout", {**paid, "itemCount": quantity}
    if depth < BUY:
        return
    yield "purchase", "/checkout/done", {**paid, "productId": product.slug, "quantity": quantity}


def _uuid(story: Story, *parts: object) -> str:
    text = f"{_prefix(story)}/{'/'.join(map(str, parts))}"
    return str(UUID(bytes=blake2b(text.encode(), digest_size=16).digest(), version=4))


@lru_cache(maxsize=1)
def _prefix(story: Story) -> str:
    return "/".join(map(str, (story.seed, story.days, story.sessions, story.end)))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
