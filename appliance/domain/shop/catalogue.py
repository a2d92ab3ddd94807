"""What the demo's shop sells.

Invariant: cheaper things sell more, which is all that decides how often one is looked at; prices
are in whole euros and cents. No brand is real.
"""

from itertools import accumulate
from random import Random  # noqa: TID251 the dice of a story
from typing import Final

from msgspec import Struct

CURRENCY: Final = "EUR"
_HALF_OFF: Final = 0.75
"""How steeply sales fall with the price."""


class Product(Struct, frozen=True, kw_only=True):
    """Something the shop sells; `price` in euros."""

    name: str
    category: str
    brand: str
    price: float

    @property
    def slug(self) -> str:
        """The product in an address."""
        return self.name.lower().replace(" ", "-")

    @property
    def sku(self) -> str:
        """The product in the warehouse."""
        letters = "".join(word[0] for word in self.name.split()).upper()
        return f"{self.category[:3].upper()}-{letters}-{round(self.price * 100):05d}"


_LINES: Final = """
ferns|Undergrove|Window Fern 14.50|Silver Brake 19.00|Boston Cloud 16.90|Maiden Lace 21.50
ferns|Mossline|Button Fern 9.90|Staghorn Mount 42.00|Blue Star 23.50|Bird Nest 18.90
succulents|Dryhand|Desk Cactus 8.90|Night Aloe 12.00|Pebble Plant 7.50|Zebra Spike 9.50
succulents|Mossline|Jade Dwarf 14.00|String of Beads 13.90|Moon Echeveria 8.50|Old Man Cactus 26.00
foliage|Undergrove|Office Monstera 34.00|Quiet Calathea 27.50|Rubber Tower 39.00|Prayer Leaf 19.90
foliage|Leafmark|Fiddle Giant 64.00|Snake Sword 22.00|Peace Lily 17.50|Dragon Tree 48.00
flowering|Leafmark|White Orchid 29.00|Desert Rose 24.00|African Violet 9.90|Flame Lily 31.50
flowering|Petalworks|Kitchen Begonia 11.90|Winter Jasmine 26.50|Wax Flower 18.00|Bat Flower 54.00
tools|Copperhand|Copper Can 22.00|Slow Feed 6.50|Mist Bottle 9.90|Root Snips 17.00
tools|Copperhand|Soil Meter 13.50|Grow Lamp 59.00|Repotting Mat 15.90
pots|Petalworks|Terra Small 5.90|Terra Large 16.90|Hanging Basket 19.50|Glass Dome 45.00
pots|Dryhand|Stone Bowl 37.00|Zinc Trough 28.00|Self Waterer 33.00
"""


def _products(line: str) -> list[Product]:
    category, brand, *told = line.split("|")
    parts = (one.rpartition(" ") for one in told)
    return [
        Product(name=name, category=category, brand=brand, price=float(price))
        for name, _, price in parts
    ]


PRODUCTS: Final = tuple(
    product for line in _LINES.strip().splitlines() for product in _products(line)
)
CATEGORIES: Final = tuple(dict.fromkeys(product.category for product in PRODUCTS))
_SHARES: Final = tuple(accumulate(product.price**-_HALF_OFF for product in PRODUCTS))


def pick(dice: Random) -> Product:
    """A product that somebody is interested in."""
    (product,) = dice.choices(PRODUCTS, cum_weights=_SHARES)
    return product
