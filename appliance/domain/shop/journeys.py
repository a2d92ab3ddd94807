"""Why people come to the demo's shop: journeys on the site and in the app, and how often each is.

Invariant: kinds and keys are those of the well-known events, keys in lowerCamelCase as the clients
send them; what only members do, only members do [workers 6.3].
"""

from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random  # noqa: TID251 the dice of a story
from typing import Final

from msgspec import Struct

from appliance.domain.shop.buying import (
    abandon_cart,
    abandon_checkout,
    give_back,
    look,
    purchase,
    purchase_with_coupon,
)
from appliance.domain.shop.catalogue import CATEGORIES, pick
from appliance.domain.shop.devices import Kind
from appliance.domain.shop.steps import COMING, Custom, Journey, Step, Tour, address_of, money

PLAN: Final = "greenhouse"
PLAN_PRICE: Final = 6.9
_WORDS: Final = ("fern", "small cactus", "shade", "pet safe", "grow lamp", "orchid", "hanging")
_VIDEOS: Final = ("repotting-basics", "watering-less", "light-explained", "first-cuttings")


class Way(Struct, frozen=True):
    """A journey and how often it is taken."""

    weight: int
    tell: Callable[[Tour], Journey]
    members_only: bool = False


def bounce(tour: Tour) -> Journey:
    """Look at one page."""
    path = tour.dice.choice(("/", "/", "/plants", "/care/watering", "/sale"))
    yield Step(kind=COMING, path=path)


def browse(tour: Tour) -> Journey:
    """Look around."""
    yield from look(tour, tour.dice.randint(1, 4))
    if tour.device.kind is not Kind.APP:
        scrolled: Custom = {"percent": tour.dice.choice((25, 50, 75, 100))}
        yield Step(kind="scroll", path="/care/watering", custom=scrolled)


def search(tour: Tour) -> Journey:
    """Look for something."""
    word = tour.dice.choice(_WORDS)
    yield Step(kind="search", path="/search", custom={"query": word})
    product = pick(tour.dice)
    clicked: Custom = {"query": word, "resultId": product.slug, "index": tour.dice.randrange(8)}
    yield Step(kind="search_result_clicked", path="/search", custom=clicked)
    yield from look(tour, 1)


def narrow(tour: Tour) -> Journey:
    """Narrow a list."""
    category = tour.dice.choice(CATEGORIES)
    path = f"/plants/{category}"
    key, value = tour.dice.choice((("light", "shade"), ("size", "small"), ("petSafe", "true")))
    yield Step(kind="filter_applied", path=path, custom={"key": key, "value": value})
    yield Step(kind="sort_changed", path=path, custom={"key": "price", "direction": "ascending"})
    yield from look(tour, 1)


def follow(tour: Tour) -> Journey:
    """Follow a recommendation."""
    product, index = pick(tour.dice), tour.dice.randrange(4)
    told: Custom = {"recommendationId": tour.new_id("rec"), "itemId": product.slug, "index": index}
    told["source"] = tour.dice.choice(("also bought", "same light", "new"))
    yield Step(kind="recommendation_viewed", path="/", custom=told)
    yield Step(kind="recommendation_clicked", path=address_of(product), custom=told)
    yield from look(tour, 1)


def sign_in(_tour: Tour) -> Journey:
    """Come back to the account."""
    yield Step(kind="signin", path="/signin")
    yield Step(kind="feature_used", path="/account", custom={"featureId": "order_history"})


def wish(tour: Tour) -> Journey:
    """Remember something for later."""
    yield from look(tour, 1)
    product = pick(tour.dice)
    told: Custom = {"productId": product.slug, "price": product.price, "currency": "EUR"}
    yield Step(kind="wishlist_added", path=address_of(product), custom=told)


def watch(tour: Tour) -> Journey:
    """Watch how it is done."""
    name = tour.dice.choice(_VIDEOS)
    path, told = f"/care/videos/{name}", {"videoId": name}
    yield Step(kind="video_started", path=path, custom={**told})
    yield Step(
        kind="video_pause", path=path, custom={**told, "position": f"{tour.dice.randint(20, 90)}s"}
    )
    if tour.dice.random() < 0.6:  # noqa: PLR2004 most watch to the end
        yield Step(kind="video_play", path=path, custom={**told})
        yield Step(kind="video_completed", path=path, custom={**told})


def subscribe(_tour: Tour) -> Journey:
    """Ask for the newsletter."""
    form: Custom = {"formId": "newsletter", "formName": "Newsletter"}
    yield Step(kind="form_start", path="/newsletter", custom=form)
    yield Step(kind="form_submit", path="/newsletter", custom={**form, "action": "subscribe"})


def seek_help(tour: Tour) -> Journey:
    """Ask somebody."""
    yield Step(kind="search", path="/help", custom={"query": "yellow leaves"})
    told: Custom = {"conversationId": tour.new_id("chat"), "topic": "care"}
    yield Step(kind="support_chat_started", path="/help/chat", custom=told)


def despair(tour: Tour) -> Journey:
    """Click where nothing happens."""
    told: Custom = {"element": "button.filter", "x": tour.dice.randint(40, 320), "y": 220}
    yield Step(kind="dead_click", path="/plants", custom=told)
    clicks: Custom = {**told, "clickCount": tour.dice.randint(3, 8)}
    yield Step(kind="rage_click", path="/plants", custom=clicks)


def rate(tour: Tour) -> Journey:
    """Answer how likely one would recommend the shop."""
    score = tour.dice.choices(range(11), weights=(2, 1, 1, 2, 2, 4, 5, 11, 18, 22, 20))[0]
    yield Step(kind="nps_submitted", path="/account", custom={"score": score})


def tell_back(tour: Tour) -> Journey:
    """Say what could be better."""
    told: Custom = {"feedbackId": tour.new_id("feedback"), "category": "shop"}
    told["rating"] = tour.dice.randint(2, 5)
    yield Step(kind="feedback_submitted", path="/feedback", custom=told)


def meet_an_error(tour: Tour) -> Journey:
    """Meet something broken."""
    yield from look(tour, 1)
    told: Custom = {"errorCode": tour.dice.choice(("timeout", "not_found")), "severity": "error"}
    told["unhandled"] = tour.dice.random() < 0.3  # noqa: PLR2004 most are caught
    yield Step(kind="error_occurred", path="/cart", custom=told)


def pass_on(tour: Tour) -> Journey:
    """Show it to somebody."""
    yield from look(tour, 1)
    yield Step(kind="share", path=address_of(pick(tour.dice)))


def try_membership(tour: Tour) -> Journey:
    """Begin to try the membership."""
    name = tour.new_id("trial")
    told: Custom = {"trialId": name, "planId": PLAN}
    yield Step(kind="trial_started", path="/membership", custom=told)
    tour.keep("trial", name)


def become_member(tour: Tour) -> Journey:
    """Pay for the membership, after a trial if there was one."""
    trial, name = tour.taken("trial"), tour.new_id("sub")
    told: Custom = {"subscriptionId": name, "planId": PLAN}
    if trial is not None:
        converted: Custom = {**told, "trialId": trial.id}
        yield Step(kind="trial_converted", path="/membership", custom=converted)
    begun: Custom = {**told, **money(PLAN_PRICE)}
    yield Step(kind="subscription_started", path="/membership/done", custom=begun)
    tour.keep("plan", name)


def be_billed(tour: Tour) -> Journey:
    """Look at the bill of the membership."""
    plan = tour.found("plan")
    name = plan.id if plan is not None else f"sub_{tour.who.external_id}"
    told: Custom = {"subscriptionId": name, "planId": PLAN, **money(PLAN_PRICE)}
    kind = "payment_failed" if tour.dice.random() < 0.06 else "subscription_renewed"  # noqa: PLR2004
    yield Step(kind=kind, path="/account/billing", custom=told)


def be_called(tour: Tour) -> Journey:
    """Follow a message on the telephone."""
    told: Custom = {"campaignId": "spring-water", "notificationType": "push"}
    yield Step(kind="notification_received", path="/", custom=told, pages=False)
    yield Step(kind="notification_clicked", path="/sale", custom={**told})
    yield from look(tour, tour.dice.randint(1, 2))


def water(_tour: Tour) -> Journey:
    """Use what the app can do: remind of watering."""
    told: Custom = {"featureId": "watering_plan", "featureName": "Watering plan"}
    yield Step(kind="feature_used", path="/my-plants", custom=told)
    yield Step(kind="app_backgrounded", path="/my-plants", pages=False)
    yield Step(kind="app_foregrounded", path="/my-plants", pages=False)


WEB: Final = (
    Way(14, bounce),
    Way(22, browse),
    Way(9, search),
    Way(7, abandon_cart),
    Way(6, narrow),
    Way(5, follow),
    Way(5, sign_in, members_only=True),
    Way(4, abandon_checkout),
    Way(4, wish),
    Way(4, watch),
    Way(2, purchase),
    Way(1, purchase_with_coupon),
    Way(2, subscribe),
    Way(2, seek_help),
    Way(2, despair),
    Way(1, rate, members_only=True),
    Way(1, tell_back),
    Way(1, meet_an_error),
    Way(1, pass_on),
    Way(1, try_membership),
    Way(1, become_member),
    Way(1, give_back, members_only=True),
)
APP: Final = (
    Way(22, browse),
    Way(8, search),
    Way(6, abandon_cart),
    Way(4, sign_in, members_only=True),
    Way(3, purchase),
    Way(3, be_called, members_only=True),
    Way(3, water),
    Way(2, wish),
    Way(2, watch),
    Way(2, be_billed, members_only=True),
    Way(1, rate, members_only=True),
    Way(1, pass_on),
    Way(1, give_back, members_only=True),
)
_CHOICES: Final[Mapping[tuple[bool, bool], tuple[tuple[Way, ...], tuple[int, ...]]]] = {
    (is_app, is_member): (found, tuple(accumulate(way.weight for way in found)))
    for is_app, ways in ((False, WEB), (True, APP))
    for is_member in (False, True)
    for found in [tuple(way for way in ways if is_member or not way.members_only)]
}


def choose(dice: Random, *, kind: Kind, is_member: bool) -> Callable[[Tour], Journey]:
    """Why somebody comes this time."""
    ways, shares = _CHOICES[kind is Kind.APP, is_member]
    (way,) = dice.choices(ways, cum_weights=shares)
    return way.tell
