"""One server-side client of another product: NAME HOST KEY; the packages are on PYTHONPATH."""

import sys
from typing import Any

# ruff: noqa: PLC0415 only the package of one client is installed
NAME, HOST, KEY = sys.argv[1:]
USER, VISITOR = f"user-{NAME}", f"visitor-{NAME}"
PROPERTIES: dict[str, Any] = {
    "plan": "spro",
    "price": 12.5,
    "count": 3,
    "gift": True,
    "list": [1, {"a": None}],
    "none": None,
}
TRAITS = {"name": "Mops", "email": f"{USER}@pug.test"}
ORDER = {**PROPERTIES, "total": 99.5, "currency": "EUR"}
PAGE = {"url": "https://shop.example/a?utm_source=news"}


def segment(client: Any) -> None:
    client.write_key = KEY
    client.track(anonymous_id=VISITOR, event="Product Viewed", properties=PROPERTIES)
    client.identify(USER, TRAITS, anonymous_id=VISITOR)
    client.track(USER, "Order Completed", ORDER)
    client.track(USER, "plain_kind", PROPERTIES)
    client.page(USER, None, "Home", PAGE)
    client.group(USER, "g1", {"seats": 3})
    client.flush()


def posthog_now() -> None:
    from posthog import Posthog

    client = Posthog(KEY, host=HOST, gzip=True)
    client.capture("plain_kind", distinct_id=USER, properties=PROPERTIES)
    client.capture(
        "Order Completed", distinct_id=USER, properties={**PROPERTIES, "$current_url": PAGE["url"]}
    )
    client.set(distinct_id=USER, properties=TRAITS)
    client.set_once(distinct_id=USER, properties={"first": NAME})
    client.alias(previous_id=VISITOR, distinct_id=USER)
    client.group_identify("company", "pug", {"seats": 3})
    client.capture("Third Thing", distinct_id=USER, properties={})
    client.shutdown()


def posthog_then() -> None:
    from posthog import Posthog

    client = Posthog(KEY, host=HOST)
    client.capture(USER, "plain_kind", PROPERTIES)
    client.capture(USER, "Order Completed", {**PROPERTIES, "$current_url": PAGE["url"]})
    client.identify(USER, TRAITS)
    client.set_once(USER, {"first": NAME})
    client.alias(VISITOR, USER)
    client.capture(USER, "Third Thing", {})
    client.shutdown()


def main() -> None:
    """Do what users of the client do, and wait for delivery."""
    if NAME.startswith("posthog"):
        posthog_then() if NAME == "posthog-python-3" else posthog_now()
    elif NAME.startswith("rudder"):
        import rudderstack.analytics as rudder

        rudder.dataPlaneUrl = HOST
        segment(rudder)
    elif NAME == "analytics-python":
        import analytics

        analytics.host = HOST
        segment(analytics)
    else:
        import segment.analytics as current

        current.host = HOST
        segment(current)


main()
