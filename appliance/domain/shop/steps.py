"""What a visit to the demo's shop is made of, and what a shopper leaves behind for the next one.

Invariant: a visit takes up only what lies before it: a cart, an order or a trial is never used
before it happened, in whatever order visits are told.
"""

from collections.abc import Iterator, Mapping
from random import Random  # noqa: TID251 the dice of a story
from typing import Final

from msgspec import Struct

from appliance.domain.ingest.event import PropertyValue
from appliance.domain.shop.catalogue import CURRENCY, Product
from appliance.domain.shop.devices import Device
from appliance.domain.shop.shoppers import Shopper

Custom = dict[str, PropertyValue]
COMING: Final = ""
KEPT_MAX: Final = 20_000
"""Things left behind, all shoppers together."""


class Step(Struct, frozen=True, kw_only=True):
    """One event of a visit, at a path of the site or on a screen of the app.

    `pages` says whether coming to the path is an event of its own before it; a step of the kind
    `COMING` is no more than that.
    """

    kind: str
    path: str
    custom: Custom = {}
    pages: bool = True


class Line(Struct, frozen=True, kw_only=True):
    """So many of a product."""

    product: Product
    quantity: int

    @property
    def amount(self) -> float:
        """What it costs together."""
        return round(self.product.price * self.quantity, 2)


class Cart(Struct, frozen=True, kw_only=True):
    """What somebody collected."""

    id: str
    lines: tuple[Line, ...]

    @property
    def amount(self) -> float:
        """What it costs together."""
        return round(sum(line.amount for line in self.lines), 2)


class Kept(Struct, frozen=True, kw_only=True):
    """Something left behind at an instant."""

    at_ms: int
    id: str
    cart: Cart | None = None
    amount: float = 0.0


class Memory:
    """What shoppers left behind: carts, orders, trials, plans; the latest of each."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], Kept] = {}

    def keep(self, who: Shopper, what: str, kept: Kept) -> None:
        """Leave something behind."""
        if len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[who.number, what] = kept

    def find(self, who: Shopper, what: str, *, before_ms: int) -> Kept | None:
        """What was left behind before an instant."""
        kept = self._kept.get((who.number, what))
        return kept if kept is not None and kept.at_ms < before_ms else None

    def take(self, who: Shopper, what: str, *, before_ms: int) -> Kept | None:
        """The same, taken away."""
        kept = self.find(who, what, before_ms=before_ms)
        if kept is not None:
            del self._kept[who.number, what]
        return kept


class Tour(Struct, kw_only=True):
    """One visit while it is told; `now_ms` moves on with its steps."""

    name: str
    dice: Random
    who: Shopper
    device: Device
    memory: Memory
    start_ms: int
    now_ms: int
    made: int = 0

    def new_id(self, kind: str) -> str:
        """An id of something that this visit makes."""
        self.made += 1
        return f"{kind}_{self.name.replace('/', '-')}-{self.made}"

    def keep(self, what: str, name: str, *, cart: Cart | None = None, amount: float = 0.0) -> None:
        """Leave something behind for a later visit."""
        kept = Kept(at_ms=self.now_ms, id=name, cart=cart, amount=amount)
        self.memory.keep(self.who, what, kept)

    def found(self, what: str) -> Kept | None:
        """What an earlier visit left behind."""
        return self.memory.find(self.who, what, before_ms=self.start_ms)

    def taken(self, what: str) -> Kept | None:
        """The same, which no later visit finds."""
        return self.memory.take(self.who, what, before_ms=self.start_ms)


Journey = Iterator[Step]


def address_of(product: Product) -> str:
    """Where a product is shown."""
    return f"/plants/{product.category}/{product.slug}"


def told_of(product: Product) -> Custom:
    """A product as an event tells it."""
    return {
        "productId": product.slug,
        "category": product.category,
        "brand": product.brand,
        "sku": product.sku,
        "price": product.price,
        "currency": CURRENCY,
    }


def money(amount: float) -> Mapping[str, PropertyValue]:
    """An amount as an event tells it."""
    return {"amount": amount, "currency": CURRENCY}
