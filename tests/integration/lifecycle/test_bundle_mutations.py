"""Thousands of mutated bundles: refused, or staged as the signed release, bit for bit (T11)."""

import random
import zlib
from pathlib import Path

import pytest

from appliance.lifecycle.manifest import BundleRefusedError
from tests.support.bundles import (
    CHANGED,
    FILES,
    Box,
    delta_tar_of,
    gzip_of,
    manifest_of,
    tar_of,
    tree_of,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
MUTATIONS = 3000
DELTA_MUTATIONS = 500


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


async def test_thousands_of_mutations_are_refused_or_harmless(box: Box) -> None:
    """A mutation either is refused, or what is staged is the signed release, bit for bit.

    Bits that a decoder must ignore exist in every deflate stream; changing them changes nothing.
    """
    sound = gzip_of(tar_of(manifest_of()))
    staged = await box.stage(sound)
    expected = tree_of(staged.folder)
    before = box.outside()
    chance = random.Random(20261121)
    refused = 0
    for _ in range(MUTATIONS):
        mutated = mutate(sound, chance)
        if mutated == sound:
            continue
        try:
            staged = await box.stage(mutated)
        except BundleRefusedError:
            refused += 1
        else:
            assert tree_of(staged.folder) == expected
        assert box.outside() == before
    assert refused > MUTATIONS * 0.98


async def test_mutated_deltas_are_refused_or_harmless(box: Box) -> None:
    second = manifest_of(CHANGED, version="0.2.0", release=2)
    installed = await box.install()
    sound = gzip_of(
        delta_tar_of(
            second,
            CHANGED,
            base=manifest_of(),
            base_files=FILES,
            patched=frozenset({"pug-appliance"}),
        )
    )
    expected = tree_of((await box.stage(sound, installed=installed)).folder)
    before = box.outside()
    chance = random.Random(7)
    for _ in range(500):
        try:
            staged = await box.stage(mutate(sound, chance), installed=installed)
        except BundleRefusedError:
            continue
        assert tree_of(staged.folder) == expected
    assert box.outside() == before


def mutate(sound: bytes, chance: random.Random) -> bytes:
    """One change to the tarball or to the tar inside it."""
    kind = chance.randrange(6)
    if kind < 2:
        return flipped(sound, chance)
    if kind == 2:
        return sound[: chance.randrange(len(sound))]
    tar = zlib.decompress(sound, wbits=31)
    if kind == 3:
        return gzip_of(flipped(tar, chance))
    start, end = sorted(512 * chance.randrange(len(tar) // 512) for _ in range(2))
    if kind == 4:
        return gzip_of(tar[:start] + tar[end:])
    return gzip_of(tar[:end] + tar[start:end] + tar[end:])


def flipped(content: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    changed = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]
