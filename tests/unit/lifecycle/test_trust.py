"""Who becomes trusted, and who stops to be."""

from pathlib import Path

import pytest
from nacl.signing import SigningKey

from appliance.base.errors import ConflictError, InvalidInputError, MisconfiguredError
from appliance.lifecycle.manifest import BundleRefusedError
from appliance.lifecycle.signature import load_trusted_keys, public_half
from appliance.lifecycle.trust import (
    adopt_keys,
    apply_rotation,
    change_trust,
    fits,
    make_rotation,
    read_key,
    write_key,
)

FIRST, SECOND, STRANGER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
ONE, TWO, OTHER = map(public_half, (FIRST, SECOND, STRANGER))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A machine that trusts the first key."""
    write_key(tmp_path / f"{ONE.id}.pub", ONE)
    return tmp_path


def trusted(folder: Path) -> set[str]:
    return {key.text for key in load_trusted_keys(folder).keys}


def test_a_rotation_signed_with_a_trusted_key_is_believed(folder: Path) -> None:
    content = make_rotation(FIRST, added=[TWO], retired=[ONE])
    change = apply_rotation(folder, content)
    assert (change.added, change.removed) == ((TWO,), (ONE,))
    assert trusted(folder) == {TWO.text}
    assert (folder / f"{TWO.id}.pub").stat().st_mode & 0o777 == 0o644


def test_a_rotation_of_a_stranger_changes_nothing(folder: Path) -> None:
    content = make_rotation(STRANGER, added=[OTHER])
    with pytest.raises(BundleRefusedError, match="not trusted"):
        apply_rotation(folder, content)
    assert trusted(folder) == {ONE.text}


def test_a_changed_rotation_changes_nothing(folder: Path) -> None:
    content = make_rotation(FIRST, added=[TWO])
    for changed in (
        content.replace(TWO.text.encode(), OTHER.text.encode()),
        content[:-9],
        b"{}",
        b"[]",
    ):
        with pytest.raises((BundleRefusedError, InvalidInputError)):
            apply_rotation(folder, changed)
    assert trusted(folder) == {ONE.text}


def test_a_manifest_is_no_rotation(folder: Path) -> None:
    """What is signed for another purpose is not taken for a rotation."""
    content = make_rotation(FIRST, added=[TWO]).replace(b"rotation", b"rotatiom")
    with pytest.raises((BundleRefusedError, InvalidInputError)):
        apply_rotation(folder, content)
    with pytest.raises(InvalidInputError):
        make_rotation(FIRST, added=[])
    with pytest.raises(InvalidInputError):
        make_rotation(FIRST, added=[TWO], retired=[TWO])


def test_a_release_replaces_the_keys_of_the_one_before_only(folder: Path) -> None:
    write_key(folder / "ours.pub", OTHER)
    for _ in range(2):
        adopt_keys(folder, leaving=[ONE.text], wanted=[TWO.text])
        assert trusted(folder) == {TWO.text, OTHER.text}
    adopt_keys(folder, leaving=[TWO.text], wanted=[])
    assert trusted(folder) == {TWO.text, OTHER.text}


def test_the_last_key_stays(folder: Path) -> None:
    with pytest.raises(ConflictError):
        change_trust(folder, added=[], retired=[ONE])
    assert trusted(folder) == {ONE.text}


def test_a_damaged_trusted_key_is_named(folder: Path) -> None:
    (folder / "broken.pub").write_text("no key")
    with pytest.raises(MisconfiguredError, match=r"broken\.pub"):
        load_trusted_keys(folder)


def test_a_fingerprint_may_be_written_as_people_do() -> None:
    text = ONE.fingerprint.upper()
    assert fits(ONE, " ".join(text[place : place + 4] for place in range(0, 64, 4)))
    assert fits(ONE, ":".join(text[place : place + 2] for place in range(0, 64, 2)))
    assert not fits(ONE, text[:16])


def test_a_key_file_is_read_back(folder: Path) -> None:
    assert read_key(folder / f"{ONE.id}.pub") == ONE
