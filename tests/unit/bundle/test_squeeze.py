"""Pieces that are joined: one deflate stream, whatever is in them."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.squeeze import squeezed, to_be_continued

END = b"\x03\x00"
RAW = -zlib.MAX_WBITS
CHANCE = random.Random(4711)
CONTENTS = (
    b"",
    b"a",
    bytes(300_000),
    CHANCE.randbytes(200_000),
    bytes(CHANCE.choices(b"etaoin shrdlu", k=400_000)),
    b"".join(CHANCE.randbytes(64) * CHANCE.randrange(1, 40) for _ in range(400)),
)


@pytest.mark.parametrize("fast", [False, True])
def test_joined_pieces_are_one_stream(fast: bool) -> None:
    joined = b"".join(squeezed(one, fast=fast) for one in CONTENTS) + END
    inflate = zlib.decompressobj(RAW)
    assert inflate.decompress(joined) == b"".join(CONTENTS)
    assert inflate.eof
    assert inflate.unused_data == b""


@given(st.lists(st.binary(max_size=2000), max_size=4))
def test_any_pieces_can_be_joined(pieces: list[bytes]) -> None:
    joined = b"".join(squeezed(one, fast=False) for one in pieces) + END
    assert zlib.decompress(joined, RAW) == b"".join(pieces)


def test_it_is_smaller_than_what_everybody_makes() -> None:
    content = CONTENTS[-2]
    assert len(squeezed(content, fast=False)) < len(squeezed(content, fast=True))


def test_a_stream_without_an_end_is_refused() -> None:
    whole = zlib.compressobj(6, zlib.DEFLATED, RAW)
    stream = whole.compress(CONTENTS[-1]) + whole.flush()
    assert to_be_continued(stream, len(CONTENTS[-1]))
    with pytest.raises(ValueError, match="not a whole deflate stream"):
        to_be_continued(stream[: len(stream) // 2], len(CONTENTS[-1]))
