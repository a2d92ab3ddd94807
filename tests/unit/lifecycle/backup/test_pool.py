"""A folder of backups: what is shared, what is believed, what is removed."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import DamagedError, MisconfiguredError, NotFoundError, UnmetError
from appliance.config.secrets import Secret
from appliance.lifecycle.backup.model import Item, Manifest, PackedFile, Part, Summary
from appliance.lifecycle.backup.packing import unpack
from appliance.lifecycle.backup.pool import Pool


def summary(name: str) -> Summary:
    return Summary(
        id=name,
        point="2026-11-21T10:00:00+00:00",
        reason="manual",
        release="0.1.0",
        release_number=1,
        encrypted=False,
        items=1,
        bytes_total=1,
        bytes_added=1,
        seconds=1.0,
    )


def manifest(name: str, *items: Item) -> Manifest:
    return Manifest(
        summary=summary(name), items=items, answers=(), streams=(), schema={}, ledger=""
    )


def add(pool: Pool, folder: Path, content: bytes, *, name: str = "file") -> Item:
    """Store one file as an item."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    item = Item(
        part=Part.SECRETS,
        name=f"item {name}",
        object=pool.name_of(digest),
        digest=digest,
        size=len(content),
        files=(PackedFile(path=name, size=len(content)),),
    )
    pool.store(item, folder)
    return item


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool.open(tmp_path / "target", None, make=True)


@pytest.mark.parametrize("content", [b"", b"a", b"word " * 1000, bytes(range(256)) * 5000])
def test_what_is_stored_is_read(pool: Pool, tmp_path: Path, content: bytes) -> None:
    """Compressed or not."""
    item = add(pool, tmp_path / "from", content)
    assert b"".join(pool.read(item)) == content
    unpack(item, pool.read(item), tmp_path / "to")
    assert (tmp_path / "to" / "file").read_bytes() == content
    assert (tmp_path / "to" / "file").stat().st_mode & 0o777 == 0o600


def test_every_flipped_byte_is_found(pool: Pool, tmp_path: Path) -> None:
    """And the error names the item and the object."""
    item = add(pool, tmp_path / "from", b"some words, some words, some words")
    path = pool.object_path(item.object)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DamagedError, match=r"item file is damaged in .*/pool/"):
            b"".join(pool.read(item))
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedError):
        b"".join(pool.read(item))
    path.unlink()
    with pytest.raises(DamagedError):
        b"".join(pool.read(item))


def test_every_flipped_byte_of_a_manifest_is_found(pool: Pool, tmp_path: Path) -> None:
    """Also in the line that everybody can read."""
    item = add(pool, tmp_path / "from", b"content")
    pool.seal(manifest("one", item))
    path = pool.folder / "backups" / "one" / "manifest"
    whole = path.read_bytes()
    assert pool.load("one").items == (item,)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert pool.backups()[0].summary is None
        with pytest.raises(DamagedError):
            pool.load("one")


def test_only_what_a_sealed_backup_needs_stays(pool: Pool, tmp_path: Path) -> None:
    """The objects and the folder of a backup that was cut off go."""
    kept = add(pool, tmp_path / "from", b"kept")
    gone = add(pool, tmp_path / "from", b"gone")
    pool.seal(manifest("one", kept))
    (pool.folder / "backups" / "cut-off").mkdir()
    with pool:
        assert pool.clean() > 0
    assert pool.object_path(kept.object).exists()
    assert not pool.object_path(gone.object).exists()
    assert not (pool.folder / "backups" / "cut-off").exists()


def test_nothing_goes_while_a_manifest_is_damaged(pool: Pool, tmp_path: Path) -> None:
    """What it needs is not known any more."""
    item = add(pool, tmp_path / "from", b"needed by nobody knows whom")
    pool.seal(manifest("one", item))
    path = pool.folder / "backups" / "one" / "manifest"
    path.write_bytes(path.read_bytes()[:-3])
    with pool:
        pool.clean()
    assert pool.object_path(item.object).exists()


def test_a_removed_backup_frees_only_its_own(pool: Pool, tmp_path: Path) -> None:
    """Shared objects stay."""
    shared = add(pool, tmp_path / "from", b"shared")
    own = add(pool, tmp_path / "from", b"own")
    pool.seal(manifest("one", shared, own))
    pool.seal(manifest("two", shared))
    with pool:
        pool.remove("one")
        pool.clean()
    assert [listed.id for listed in pool.backups()] == ["two"]
    assert not pool.object_path(own.object).exists()
    assert b"".join(pool.read(shared)) == b"shared"


def test_backups_come_in_the_order_they_were_made(pool: Pool) -> None:
    """Whatever the clock named them; those of earlier releases, without a number, come first."""
    for name, sequence in (("2026-1", 0), ("2033", 1), ("2026-2", 2), ("2019", 3)):
        plain = manifest(name)
        pool.seal(
            msgspec.structs.replace(
                plain, summary=msgspec.structs.replace(plain.summary, sequence=sequence)
            )
        )
    assert [one.id for one in pool.backups()] == ["2026-1", "2033", "2026-2", "2019"]


def test_a_file_that_changes_while_it_is_read_is_refused(pool: Pool, tmp_path: Path) -> None:
    """Its object does not appear."""
    item = add(pool, tmp_path / "from", b"first")
    pool.set_aside(item)
    (tmp_path / "from" / "file").write_bytes(b"later")
    with pytest.raises(DamagedError, match="item file changed"):
        pool.store(item, tmp_path / "from")
    assert not pool.object_path(item.object).exists()


def test_a_target_is_what_it_says(tmp_path: Path) -> None:
    """Missing, plain, newer: each is told."""
    with pytest.raises(NotFoundError, match="holds no backups"):
        Pool.open(tmp_path / "target", None)
    Pool.open(tmp_path / "target", None, make=True)
    with pytest.raises(UnmetError, match="not encrypted"):
        Pool.open(tmp_path / "target", Secret("word"))
    mark = tmp_path / "target" / "target.json"
    mark.write_bytes(msgspec.json.encode({"format": 99}))
    with pytest.raises(UnmetError, match="newer release"):
        Pool.open(tmp_path / "target", None)
    mark.write_text("{")
    with pytest.raises(DamagedError):
        Pool.open(tmp_path / "target", None)


def test_a_full_target_is_refused_before_anything_is_written(pool: Pool) -> None:
    """With both figures."""
    with pytest.raises(MisconfiguredError, match="MiB free, up to"):
        pool.check_room(1 << 60)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "a/../../out", "link/out"])
def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    """Not by dots, not by a root, not through a link."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    item = Item(
        part=Part.CONFIG,
        name="evil",
        digest="",
        size=1,
        files=(PackedFile(path=path, size=1),),
    )
    with pytest.raises(DamagedError, match="outside"):
        unpack(item, iter([b"x"]), inside)
    assert not (tmp_path / "out").exists()


def test_a_content_of_another_length_is_refused(tmp_path: Path) -> None:
    """Too short or too long."""
    item = Item(
        part=Part.CONFIG,
        name="item",
        digest="",
        size=3,
        files=(PackedFile(path="a", size=3),),
    )
    for content in (b"xx", b"xxxx"):
        with pytest.raises(DamagedError):
            unpack(item, iter([content]), tmp_path)
