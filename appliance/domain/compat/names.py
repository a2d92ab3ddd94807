"""Event names of other products as our kinds [compat-ingest 4].

Invariant: `make_kind` is total and stable: the same name gives the same kind for ever, because
stored events are counted by it. A name that is a kind already stays as it is, letter by letter.
"""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

KIND_CHARACTERS_MAX: Final = 128
ORIGINAL_NAME: Final = "originalEvent"
"""The custom property that keeps a name that had to change."""

_KIND: Final = re.compile(r"[A-Za-z0-9_.-]+")
_UNFIT: Final = re.compile(r"[^a-z0-9_.-]+")
_DIGEST_BYTES: Final = 4
_NAMES_CACHED_MAX: Final = 4096

SEGMENT_NAMES: Final = {
    "Application Backgrounded": "app_backgrounded",
    "Application Crashed": "app_crashed",
    "Application Installed": "app_install",
    "Application Opened": "app_open",
    "Application Updated": "app_update",
    "Cart Viewed": "cart_viewed",
    "Checkout Started": "checkout_started",
    "Checkout Step Completed": "checkout_step_completed",
    "Coupon Applied": "coupon_applied",
    "Coupon Removed": "coupon_removed",
    "Order Completed": "purchase",
    "Order Refunded": "order_refunded",
    "Product Added": "add_to_cart",
    "Product Added to Wishlist": "wishlist_added",
    "Product List Viewed": "product_list_viewed",
    "Product Removed": "remove_from_cart",
    "Product Removed from Wishlist": "wishlist_removed",
    "Product Viewed": "product_viewed",
    "Products Searched": "search",
    "Signed In": "signin",
    "Signed Out": "signout",
    "Signed Up": "signup",
    "Trial Started": "trial_started",
    "Video Playback Completed": "video_completed",
    "Video Playback Paused": "video_pause",
    "Video Playback Resumed": "video_play",
    "Video Playback Started": "video_started",
}
"""Names of Segment's specification that have a well-known kind."""

POSTHOG_NAMES: Final = {
    "$pageview": "page_view",
    "$screen": "screen_view",
    "$pageleave": "page_leave",
    "$rageclick": "rage_click",
    "$dead_click": "dead_click",
    "$exception": "error_occurred",
    "Application Backgrounded": "app_backgrounded",
    "Application Installed": "app_install",
    "Application Opened": "app_open",
    "Application Updated": "app_update",
}
"""PostHog's own events that have a well-known kind, and those of its mobile clients."""


@lru_cache(maxsize=_NAMES_CACHED_MAX)
def make_kind(name: str) -> str:
    """A kind for a name: lower case, joined by underscores; where letters had to be left out or
    the name is long, a digest keeps different names apart.
    """
    if _KIND.fullmatch(name) and len(name) <= KIND_CHARACTERS_MAX:
        return name
    letters = [
        letter
        for letter in unicodedata.normalize("NFKD", name)
        if not unicodedata.combining(letter)
    ]
    lost = any(letter.isalnum() and not letter.isascii() for letter in letters)
    plain = _UNFIT.sub("_", "".join(letters).lower()).strip("_")
    if plain and not lost and len(plain) <= KIND_CHARACTERS_MAX:
        return plain
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).hexdigest()
    return f"{plain[: KIND_CHARACTERS_MAX - 2 * _DIGEST_BYTES - 1] or 'event'}_{digest}"
