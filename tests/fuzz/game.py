"""One round: a request as JSON, as bytes, damaged, packed, and plain junk.

Invariant: rounds are drawn by hypothesis from a seed, so a finding can be played again; event ids
carry the number of the round, so that what is stored at the end belongs to one input.
"""

import uuid
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest
from tests.fuzz.aside import asides
from tests.fuzz.field import Field
from tests.fuzz.inputs import (
    BINARY,
    JSON,
    Input,
    damaged,
    junk,
    packed,
    requests,
    sender_headers,
)

_DAMAGES: Final = 8


def rounds(examples: int, number: int) -> Callable[[Field], None]:
    """A game of so many rounds, the same for the same number."""
    prefixes = (
        f"{one:08x}-{number & 0xFFFF:04x}-4000-8000" for one in count(uuid.uuid4().fields[0])
    )

    def game(field: Field) -> None:
        @seed(number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            print_blob=False,
        )
        @given(data=st.data())
        def play_round(data: st.DataObject) -> None:
            _round(field, data, next(prefixes))

        play_round()

    return game


def _round(field: Field, data: st.DataObject, prefix: str) -> None:
    headers = data.draw(sender_headers())
    chance = Random(data.draw(st.integers(0, 1 << 32)))
    body = data.draw(requests(prefix))
    given_inputs = [
        Input(label="request", content_type=JSON, body=body, plain=body, headers=headers)
    ]
    try:
        binary = BatchCreateRequest.from_json(body).to_binary()
    except (ValueError, TypeError, RecursionError, OverflowError):
        binary = b""
    given_inputs.append(
        Input(label="request", content_type=BINARY, body=binary, plain=binary, headers=headers)
    )
    for one in tuple(given_inputs):
        for _ in range(_DAMAGES):
            spoilt = damaged(one.plain, chance)
            given_inputs.append(
                Input(
                    label="damaged",
                    content_type=one.content_type,
                    body=spoilt,
                    plain=spoilt,
                    headers=headers,
                )
            )
    nonsense = data.draw(junk)
    given_inputs += [
        Input(label="junk", content_type=kind, body=nonsense, plain=nonsense, headers=headers)
        for kind in (JSON, BINARY)
    ]
    given_inputs += [data.draw(packed(one, chance)) for one in given_inputs[:2]]
    for one in given_inputs:
        field.throw(one)
    for aside in data.draw(asides(chance)):
        field.throw_aside(aside)
