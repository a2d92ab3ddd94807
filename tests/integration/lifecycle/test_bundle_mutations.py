"""Thousands of mutated bundles: refused, or staged as the signed release, bit for bit (T11)."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.lifecycle.manifest import BundleRefusedError
from appliance.lifecycle.signature import TrustedKeys, public_half
from tests.support.bundles import (
    CHANGED,
    FILES,
    KEY,
    LINKS,
    STRANGER,
    Box,
    delta_tar_of,
    gzip_of,
    manifest_of,
    tar_of,
    tree_of,
)
from tests.support.mutations import (
    STREAM,
    TARBALL,
    Mutation,
    cut,
    flip_in_file,
    flip_in_stream,
    mixed,
    recompressed,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
SEED = 20261121
EACH = 200
DELTAS = 300
MIXED = 100
ROUNDS_OF_KILLING = 12
SOUND = tar_of(manifest_of())
SECOND = manifest_of(CHANGED, version="0.2.0", release=2)
# A decoder ignores a few bits of any deflate stream; a change of those changes nothing.
HARMLESS_MAX = {"bit of the file": EACH // 20}


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.mark.parametrize(("name", "mutation"), [*TARBALL.items(), *STREAM.items()])
async def test_mutations_are_refused_and_touch_staging_only(
    box: Box, name: str, mutation: Mutation
) -> None:
    """Staging is all that a refused bundle changes; what passes is the signed release."""
    expected = tree_of((await box.stage(gzip_of(SOUND))).folder)
    before = box.outside()
    chance = random.Random(f"{SEED} {name}")
    passed = 0
    remedies: set[str] = set()
    for turn in range(EACH):
        mutated = mutation(SOUND, chance)
        if mutated == gzip_of(SOUND):
            continue
        try:
            staged = await box.stage(mutated)
        except BundleRefusedError as error:
            remedies.add(error.hint)
        else:
            passed += 1
            assert tree_of(staged.folder) == expected, turn
        assert box.outside() == before, turn
    assert remedies
    assert "" not in remedies
    assert passed <= HARMLESS_MAX.get(name, 0)


async def test_a_mix_of_two_releases_is_refused(box: Box) -> None:
    """Both releases are signed with a trusted key; a member of one does not pass in the other."""
    other = tar_of(SECOND, CHANGED)
    chance = random.Random(SEED)
    before = box.outside()
    for turn in range(MIXED):
        pair = (SOUND, other) if turn % 2 else (other, SOUND)
        with pytest.raises(BundleRefusedError):
            await box.stage(mixed(*pair, chance))
        assert box.outside() == before


async def test_control_the_same_content_packed_otherwise_is_accepted(box: Box) -> None:
    expected = tree_of((await box.stage(gzip_of(SOUND))).folder)
    chance = random.Random(SEED)
    for _ in range(10):
        staged = await box.stage(recompressed(SOUND, chance))
        assert tree_of(staged.folder) == expected


async def test_control_a_changed_release_is_accepted_when_a_trusted_key_signs_it(box: Box) -> None:
    """What is refused is refused for the signature: the same change passes when it is signed."""
    chance = random.Random(SEED)
    for turn in range(25):
        path = chance.choice(sorted(FILES))
        content = bytearray(FILES[path])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        changed = {**FILES, path: bytes(content)}
        unsigned = tar_of(manifest_of(), changed)
        stranger = tar_of(manifest_of(changed), changed, key=STRANGER)
        for refused in (unsigned, stranger):
            with pytest.raises(BundleRefusedError):
                await box.stage(gzip_of(refused))
        staged = await box.stage(gzip_of(tar_of(manifest_of(changed), changed, key=KEY)))
        assert (staged.folder / path).read_bytes() == bytes(content), turn


async def test_mutated_deltas_are_refused_or_harmless(box: Box) -> None:
    installed = await box.install()
    tar = delta_tar_of(
        SECOND, CHANGED, base=manifest_of(), base_files=FILES, patched=frozenset({"pug-appliance"})
    )
    expected = tree_of((await box.stage(gzip_of(tar), installed=installed)).folder)
    before = box.outside()
    chance = random.Random(SEED)
    mutations = [flip_in_file, flip_in_stream, cut, *STREAM.values()]
    refused = 0
    for _ in range(DELTAS):
        try:
            staged = await box.stage(chance.choice(mutations)(tar, chance), installed=installed)
        except BundleRefusedError:
            refused += 1
        else:
            assert tree_of(staged.folder) == expected
        assert box.outside() == before
    assert refused > DELTAS * 0.9


SCRIPT = """
import asyncio, sys
from pathlib import Path
from appliance.lifecycle.bundle import Machine
from appliance.lifecycle.progress import SilentProgress
from appliance.lifecycle.signature import PublicKey, TrustedKeys
from appliance.lifecycle.staging import stage

class Telling(SilentProgress):
    def amount(self, done, total, unit="bytes"):
        print(done, flush=True)

bundle, staging, key = sys.argv[1:]
asyncio.run(stage(
    Path(bundle), staging=Path(staging), trusted=TrustedKeys(keys=(PublicKey(text=key),)),
    machine=Machine(architecture="x86_64", glibc="2.36"), installed=None, progress=Telling(),
))
"""


def stage_and_kill(bundle: Path, staging: Path, *, amounts: int) -> None:
    """Stage in a process of its own, and kill it when it has told so many amounts."""
    command = [sys.executable, "-c", SCRIPT, str(bundle), str(staging), public_half(KEY).text]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(amounts):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)


async def test_what_a_killed_staging_leaves_is_gone_with_the_next(box: Box) -> None:
    """SIGKILL while large files are written; the next attempt begins with an empty folder."""
    chance = random.Random(SEED)
    files = {**FILES, "large": bytes(48 << 20), "second": chance.randbytes(8 << 20)}
    bundle = box.folder / "bundles/large.tar.gz"
    bundle.write_bytes(gzip_of(tar_of(manifest_of(files), files), level=1))
    before = box.outside()
    leftovers = 0
    for turn in range(ROUNDS_OF_KILLING):
        stage_and_kill(bundle, box.layout.staging, amounts=turn)
        leftovers += any(box.layout.staging.glob("*/large"))
        assert not list(box.layout.staging.glob("*/manifest.json"))
        assert box.outside() == before
    assert leftovers
    staged = await box.stage(gzip_of(SOUND))
    assert {path.name for path in box.layout.staging.iterdir()} == {staged.folder.name}
    assert set(FILES) | set(LINKS) <= set(tree_of(staged.folder))
    assert not (staged.folder / "large").exists()
    assert TrustedKeys(keys=(staged.key,)).find(public_half(KEY).id) is not None
