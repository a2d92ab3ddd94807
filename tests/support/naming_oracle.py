"""What calls that name persons come to, slowly: one after the other in the order of their times.

Invariant: written from the contract alone, with plain dictionaries; shares nothing with the product
but the shape of a call.
"""

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from appliance.domain.people.messages import Identification, micros_of

START = micros_of(datetime(2026, 11, 20, 12, tzinfo=UTC))


class Outcome(msgspec.Struct, frozen=True):
    """Properties by external id, and whose (by external id) each alias and device is."""

    properties: dict[str, dict[str, Any]]
    aliases: dict[str, str]
    devices: dict[str, str]


def make_calls(number: int, *, seed: int, project: str) -> list[Identification]:
    """Invented calls in the order of their times."""
    chance = random.Random(seed)
    return [
        Identification(
            project_id=project,
            external_id=f"e{chance.randrange(6)}",
            traits={
                key: chance.choice((None, place, [place], {"at": place}, f"v{place}"))
                for key in chance.sample(("plan", "n", "city", "$x"), chance.randrange(4))
            },
            anonymous_id=chance.choice(("", "", f"anon-{chance.randrange(8)}")),
            device_id=chance.choice(("", "", f"d{chance.randrange(5)}")),
            accepted_at=START + place,
        )
        for place in range(number)
    ]


def carry_out(calls: Iterable[Identification], devices: Iterable[str]) -> Outcome:
    """The calls one after the other; only `devices` are known."""
    known = set(devices)
    outcome = Outcome({}, {}, {})
    for call in calls:
        outcome.properties.setdefault(call.external_id, {}).update(call.traits)
        if call.device_id in known:
            outcome.devices[call.device_id] = call.external_id
        if call.anonymous_id:
            outcome.aliases[call.anonymous_id] = call.external_id
    return outcome
