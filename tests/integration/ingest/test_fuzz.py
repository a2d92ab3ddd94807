"""Whatever is sent to the ingest door: no 500, no crash, and nothing stored that was refused.

The short form of `scripts/fuzz`, which plays for as long as it is told.
"""

import asyncio

import pytest

from appliance.config.model import Settings
from tests.fuzz.field import play
from tests.fuzz.game import rounds

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

ROUNDS = 60


def test_nothing_sent_breaks_the_door(engines: Settings) -> None:
    """Almost right, damaged and senseless bodies in both forms, compressed and in envelopes."""
    field, stored = asyncio.run(play(engines, rounds(ROUNDS, 1)))
    print(dict(field.inputs), dict(field.answers), stored, field.liberal)
    assert sum(field.inputs.values()) >= ROUNDS
    assert stored > ROUNDS / 4, "most inputs never got past the first check"
