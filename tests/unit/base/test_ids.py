"""Sortable ids and keys."""

import re

from appliance.base.ids import IdMaker, make_api_key, random_token, random_uuid
from tests.support.clocks import FixedClock, SeededRandomness


def test_ids_have_twenty_characters_and_sort_by_time() -> None:
    """[services 3.9] 20 characters of 0-9a-v, ordered by the second of their making."""
    clock = FixedClock()
    maker = IdMaker(clock, SeededRandomness())
    earlier = [maker.make() for _ in range(100)]
    clock.advance(1)
    later = [maker.make() for _ in range(100)]
    assert all(re.fullmatch(r"[0-9a-v]{20}", made) for made in earlier + later)
    assert len(set(earlier + later)) == 200
    assert max(earlier) < min(later)


def test_the_counter_wraps_instead_of_overflowing() -> None:
    """The largest counter is followed by the smallest."""

    class LargestBytes:
        def token_bytes(self, count: int) -> bytes:
            return b"\xff" * count

    maker = IdMaker(FixedClock(), LargestBytes())
    assert maker.make() != maker.make()


def test_keys_have_the_contract_form() -> None:
    """[services 3.4] prefix and 20 lower-case hexadecimal characters."""
    assert re.fullmatch(r"pub_[0-9a-f]{20}", make_api_key(private=False))
    assert re.fullmatch(r"prv_[0-9a-f]{20}", make_api_key(private=True))
    assert make_api_key(private=True) != make_api_key(private=True)
    assert re.fullmatch(r"[0-9a-f]{64}", random_token(32))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", random_uuid())
