"""What a manifest may say, and whom we believe."""

from pathlib import Path

import msgspec
import pytest

from appliance.base.errors import ConflictError, MisconfiguredError
from appliance.lifecycle.manifest import (
    BundleRefusedError,
    FileEntry,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from appliance.lifecycle.signature import (
    TrustedKeys,
    load_key,
    load_trusted_keys,
    make_key,
    parse_public_key,
    public_half,
    sign,
    verify,
)

DIGEST = "ab" * 32
FILES = (
    FileEntry(path="_internal/libz.so", sha256=DIGEST, size=3, mode="0755"),
    FileEntry(path="engines/lib/libpq.so", mode="0777", link="libpq.so.5"),
    FileEntry(path="pug-appliance", sha256=DIGEST, size=9, mode="0755"),
)
SOUND = Manifest(
    format=1,
    product="pug-appliance",
    version="0.1.0",
    release=1,
    architecture="x86_64",
    glibc="2.36",
    upgrades_from=1,
    schema={"postgres": 4},
    schema_compatible={"postgres": 1},
    engines={"postgres": "18.6"},
    source_date=1_790_000_000,
    keys=(),
    files=FILES,
)


def with_file(**changes: object) -> Manifest:
    return msgspec.structs.replace(
        SOUND, files=(*FILES, msgspec.structs.replace(FILES[0], **{"path": "x", **changes}))
    )


def test_a_sound_manifest_is_read_back_as_it_was_written() -> None:
    assert decode_manifest(encode_manifest(SOUND)) == SOUND


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (msgspec.structs.replace(SOUND, format=2), "MANIFEST_FORMAT"),
        (msgspec.structs.replace(SOUND, product="other"), "MANIFEST_UNSOUND"),
        (msgspec.structs.replace(SOUND, version="../1"), "MANIFEST_UNSOUND"),
        (msgspec.structs.replace(SOUND, release=0), "MANIFEST_UNSOUND"),
        (msgspec.structs.replace(SOUND, upgrades_from=2), "MANIFEST_UNSOUND"),
        (msgspec.structs.replace(SOUND, keys=("short",)), "MANIFEST_UNSOUND"),
        (with_file(path="../etc/passwd"), "PATH_UNSAFE"),
        (with_file(path="/etc/passwd"), "PATH_UNSAFE"),
        (with_file(path="a//b"), "PATH_UNSAFE"),
        (with_file(path="a/./b"), "PATH_UNSAFE"),
        (with_file(path="a\x00b"), "PATH_UNSAFE"),
        (with_file(path="a\nb"), "PATH_UNSAFE"),
        (with_file(path="a\\b"), "PATH_UNSAFE"),
        (with_file(path="e\u0301"), "PATH_UNSAFE"),
        (with_file(path="x" * 1025), "PATH_UNSAFE"),
        (with_file(path=""), "PATH_UNSAFE"),
        (with_file(path="PUG-appliance"), "PATH_TWICE"),
        (with_file(path="manifest.sig"), "PATH_TWICE"),
        (with_file(path="a"), "MANIFEST_UNSOUND"),
        (with_file(link="..", sha256="", size=0, mode="0777"), "LINK_UNSAFE"),
        (with_file(path="x/y", link="../z/../..", sha256="", mode="0777", size=0), "LINK_UNSAFE"),
        (with_file(path="x/y", link="../../z", sha256="", mode="0777", size=0), "LINK_UNSAFE"),
        (with_file(path="pug-appliance/inside"), "PATH_UNSAFE"),
        (with_file(path="engines/lib/libpq.so/inside"), "PATH_UNSAFE"),
        (with_file(mode="4755"), "MODE_UNSAFE"),
        (with_file(mode="0666"), "MODE_UNSAFE"),
        (with_file(size=-1), "MANIFEST_UNSOUND"),
        (with_file(size=9 << 30), "MANIFEST_TOO_LARGE"),
        (with_file(sha256="AB" * 32), "MANIFEST_UNSOUND"),
        (with_file(link="y"), "MANIFEST_UNSOUND"),
        (with_file(link="../y", sha256="", size=0, mode="0777"), "LINK_UNSAFE"),
        (with_file(link="/etc/passwd", sha256="", size=0, mode="0777"), "LINK_UNSAFE"),
        (with_file(link="a/../../y", sha256="", size=0, mode="0777"), "LINK_UNSAFE"),
    ],
)
def test_an_unsound_manifest_is_refused(manifest: Manifest, reason: str) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        decode_manifest(encode_manifest(manifest))
    assert caught.value.reason == reason
    assert caught.value.exit_status == 5
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encode_manifest(SOUND)[:-1], "MANIFEST_NOT_CANONICAL"),
        (encode_manifest(SOUND) + b" ", "MANIFEST_NOT_CANONICAL"),
        (encode_manifest(SOUND)[:-9], "MANIFEST_UNREADABLE"),
        (b'{"surprise":1}', "MANIFEST_UNREADABLE"),
        (b'{"product":"\xe4\xe4"}', "MANIFEST_UNREADABLE"),
        (encode_manifest(SOUND).replace(b'"path":', b'"more":[],"path":'), "MANIFEST_UNREADABLE"),
    ],
)
def test_other_bytes_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(BundleRefusedError) as caught:
        decode_manifest(content)
    assert caught.value.reason == reason


def test_only_a_trusted_key_and_the_signed_bytes_pass(tmp_path: Path) -> None:
    make_key(tmp_path / "ours")
    make_key(tmp_path / "theirs")
    key = load_key(tmp_path / "ours")
    trusted = TrustedKeys(keys=(public_half(key),))
    content = encode_manifest(SOUND)
    signature = sign(key, content)
    assert verify(content, signature, trusted) == public_half(key)
    stranger = sign(load_key(tmp_path / "theirs"), content)
    for wrong, reason in (
        ((content + b" ", signature), "SIGNATURE_WRONG"),
        ((content, stranger), "KEY_UNTRUSTED"),
        ((content, stranger.replace(b'"key_id"', b'"key"')), "SIGNATURE_UNREADABLE"),
        ((content, b"{}"), "SIGNATURE_UNREADABLE"),
        ((content, b" " * 5000), "SIGNATURE_UNREADABLE"),
    ):
        with pytest.raises(BundleRefusedError) as caught:
            verify(*wrong, trusted)
        assert caught.value.reason == reason


def test_a_signature_of_a_stranger_under_our_key_id_is_wrong(tmp_path: Path) -> None:
    make_key(tmp_path / "ours")
    make_key(tmp_path / "theirs")
    ours = public_half(load_key(tmp_path / "ours"))
    stranger = load_key(tmp_path / "theirs")
    content = encode_manifest(SOUND)
    forged = sign(stranger, content).replace(public_half(stranger).id.encode(), ours.id.encode())
    with pytest.raises(BundleRefusedError) as caught:
        verify(content, forged, TrustedKeys(keys=(ours,)))
    assert caught.value.reason == "SIGNATURE_WRONG"


def test_keys_are_kept_and_private(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    made = make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConflictError):
        make_key(path)
    (tmp_path / "release.pub").write_text(made.text + "\n")
    assert load_trusted_keys(tmp_path).find(made.id) == parse_public_key(made.text)
    path.chmod(0o644)
    with pytest.raises(MisconfiguredError):
        load_key(path)
