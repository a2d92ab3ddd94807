"""One visit to the demo's shop, of a person or of a bot, as the events a client would send.

Invariant: a visit follows from its name, who comes, when, and what they left behind before: the
same one has the same events with the same ids. Whether a visitor is a bot is nothing a client
says; the visit tells it beside its events, as the network in front of a real shop does.
"""

import random  # noqa: TID251 repeatable; nothing secret comes from it
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final
from uuid import UUID

from msgspec import Struct

from appliance.domain.ingest.event import Event, PropertyValue
from appliance.domain.shop.arrivals import Arrival, arrive
from appliance.domain.shop.devices import (
    DEVICES,
    Device,
    Kind,
    is_fresh,
    release_on,
    version_of,
)
from appliance.domain.shop.journeys import be_called, choose
from appliance.domain.shop.places import CITIES, City
from appliance.domain.shop.rhythm import day_of, is_promotion, is_push_day
from appliance.domain.shop.shoppers import Shopper
from appliance.domain.shop.steps import COMING, Journey, Memory, Step, Tour

SITE: Final = "https://shop.example"
BOTS: Final = 300
_PACE_SECONDS: Final = (8, 102)
_PAGE_SECONDS: Final = (1, 4)
_PUSHED_SHARE: Final = 0.4
_CRASH_SHARES: Final = {True: 0.08, False: 0.005}
_JITTER_DEGREES: Final = 0.018
"""About two kilometres."""
_HUMAN_SCORES: Final = range(70, 100, 3)
_BOT_SCORES: Final = range(1, 29, 3)
"""A few values, because each travels with requests of its own."""
_CRAWLED: Final = ("/", "/plants", "/plants/ferns", "/plants/pots", "/care/watering", "/robots")

Automatic = dict[str, PropertyValue]


class Visit(Struct, frozen=True, kw_only=True):
    """A session; `shopper` is None for a bot, `verified` None where nobody looked."""

    events: tuple[Event, ...]
    bot_score: int
    verified: bool | None = None
    shopper: Shopper | None = None


def visit_of(
    who: Shopper, device: Device, name: str, start_ms: int, memory: Memory, *, is_first: bool
) -> Visit:
    """What somebody does, beginning at an instant; in a first visit they sign up."""
    dice = random.Random(f"visit/{name}")  # noqa: S311 a story, not a secret
    tour = Tour(
        name=name,
        dice=dice,
        who=who,
        device=device,
        memory=memory,
        start_ms=start_ms,
        now_ms=start_ms,
    )
    steps = _app_steps(tour, is_first) if device.kind is Kind.APP else _web_steps(tour, is_first)
    common = _common(device, who.city, dice)
    if device.kind is Kind.APP:
        common["$appVersion"] = version_of(release_on(who.external_id, start_ms))
        events = _told(tour, steps, common, Arrival("", ""))
    else:
        arrival = arrive(dice, promoted=is_promotion(day_of(start_ms)))
        events = _told(tour, steps, common, arrival)
    return Visit(events=tuple(events), bot_score=dice.choice(_HUMAN_SCORES), shopper=who)


def bot_visit(name: str, start_ms: int) -> Visit:
    """Two to five pages, looked at by a program."""
    dice = random.Random(f"bot/{name}")  # noqa: S311 a story, not a secret
    number = dice.randrange(BOTS)
    owner = random.Random(f"bot/{number}")  # noqa: S311 a story, not a secret
    city, device = owner.choice(CITIES), owner.choice(DEVICES[:8])
    common = _common(device, city, dice)
    session, now_ms = _uuid("bot", name, "session"), start_ms
    events: list[Event] = []
    for step, path in enumerate(dice.choices(_CRAWLED, k=dice.randint(2, 5))):
        address: Automatic = {"$url": SITE + path, "$referrer": "", "$pageTitle": _title(path)}
        events.append(
            Event(
                event_id=_uuid("bot", name, step),
                kind="page_view",
                occur_time_ms=now_ms,
                distinct_id=f"bot-{number:04d}",
                session_id=session,
                auto_properties=common | address,
                custom_properties={},
            )
        )
        now_ms += dice.randint(300, 4000)
    return Visit(
        events=tuple(events),
        bot_score=dice.choice(_BOT_SCORES),
        verified=owner.random() < 0.2,  # noqa: PLR2004 a few are search engines
    )


def _web_steps(tour: Tour, is_first: bool) -> Journey:  # noqa: FBT001 one of two
    if is_first:
        yield Step(kind="signup", path="/signup")
    yield from choose(tour.dice, kind=tour.device.kind, is_member=tour.who.is_member)(tour)


def _app_steps(tour: Tour, is_first: bool) -> Journey:  # noqa: FBT001 one of two
    release = release_on(tour.who.external_id, tour.start_ms)
    version = version_of(release)
    if is_first:
        yield Step(kind="app_install", path="/", custom={"appVersion": version}, pages=False)
    before = tour.taken("release")
    if before is not None and before.id != version:
        told: dict[str, PropertyValue] = {"appVersion": version, "previousVersion": before.id}
        yield Step(kind="app_update", path="/", custom=told, pages=False)
    tour.keep("release", version)
    yield Step(kind="app_open", path="/", pages=False)
    if is_first:
        yield Step(kind="signup", path="/signup")
    pushed = tour.who.is_member and is_push_day(day_of(tour.start_ms))
    if pushed and tour.dice.random() < _PUSHED_SHARE:
        yield from be_called(tour)
    else:
        yield from choose(tour.dice, kind=Kind.APP, is_member=tour.who.is_member)(tour)
    if tour.dice.random() < _CRASH_SHARES[is_fresh(release, tour.start_ms)]:
        crash: dict[str, PropertyValue] = {"errorType": "OutOfMemory", "errorMessage": "no memory"}
        yield Step(kind="app_crashed", path="/", custom=crash, pages=False)
    else:
        yield Step(kind="app_close", path="/", pages=False)


def _told(tour: Tour, steps: Journey, common: Automatic, arrival: Arrival) -> Iterator[Event]:
    """The steps as events, each page before what is done on it."""
    session = _uuid(tour.name, "session")
    is_app = tour.device.kind is Kind.APP
    place, number, last = "", 0, arrival.referrer
    for step in steps:
        entering = step.pages and step.path != place
        url = SITE + step.path + (f"?{arrival.query}" if arrival.query and not number else "")
        about: Automatic = {"$url": url, "$referrer": last} if not is_app else {}
        shown: list[tuple[str, Automatic, dict[str, PropertyValue]]] = []
        if entering and is_app:
            shown.append(("screen_view", {}, {"screenName": _title(step.path)}))
        elif entering:
            shown.append(("page_view", {"$pageTitle": _title(step.path)}, {}))
        if step.kind != COMING:
            shown.append((step.kind, {}, dict(step.custom)))
        for kind, more, custom in shown:
            yield Event(
                event_id=_uuid(tour.name, number),
                kind=kind,
                occur_time_ms=tour.now_ms,
                distinct_id=tour.who.id_at(tour.start_ms),
                session_id=session,
                auto_properties=common | about | more,
                custom_properties=custom,
            )
            number += 1
            tour.now_ms += 1000 * tour.dice.randint(*_PAGE_SECONDS)
        tour.now_ms += 1000 * tour.dice.randint(*_PACE_SECONDS)
        place, last = step.path, SITE + step.path


def _common(device: Device, city: City, dice: random.Random) -> Automatic:
    """What every event of a visit has."""
    found: Automatic = {
        "$platform": device.platform,
        "$os": device.os,
        "$mobile": device.kind is not Kind.DESKTOP,
        "$screenWidth": device.width,
        "$screenHeight": device.height,
        "$country": city.country,
        "$region": city.region,
        "$city": city.name,
        "$continent": city.continent,
        "$postalCode": city.postal_code,
        "$timezone": city.timezone,
        "$latitude": _near(city.latitude, dice),
        "$longitude": _near(city.longitude, dice),
        "$locale": city.locale,
        "$sdkVersion": "demo",
    }
    optional = {
        "$browser": device.browser,
        "$browserVersion": device.browser_version,
        "$osVersion": device.os_version,
        "$device": device.name,
    }
    return found | {name: value for name, value in optional.items() if value}


def _near(degrees: float, dice: random.Random) -> float:
    return round(degrees + dice.uniform(-_JITTER_DEGREES, _JITTER_DEGREES), 4)


def _title(path: str) -> str:
    return path.strip("/").replace("/", " · ") or "Plants"


def _uuid(*parts: object) -> str:
    text = "/".join(map(str, parts))
    return str(UUID(bytes=blake2b(text.encode(), digest_size=16).digest(), version=4))
