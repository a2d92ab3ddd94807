"""`bundle` and `signing`, as an operator uses them: from a fresh key to a refused bundle."""

import json
from pathlib import Path

import pytest

from appliance.cli.main import main
from appliance.lifecycle.manifest import encode_manifest
from appliance.lifecycle.signature import load_key, public_half
from tests.support.bundles import FILES, gzip_of, manifest_of, tar_of


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A key, a folder that trusts it, and a bundle that is signed with it."""
    assert status_of("signing", "keygen", str(tmp_path / "ours.key")) == 0
    (tmp_path / "trusted").mkdir()
    assert trust(tmp_path, "ours.key.pub") == 0
    key = load_key(tmp_path / "ours.key")
    tar = tar_of(manifest_of(keys=(public_half(key).text,)), key=key)
    (tmp_path / "bundle.tar.gz").write_bytes(gzip_of(tar))
    capsys.readouterr()
    return tmp_path


def status_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def trust(world: Path, name: str, *more: str) -> int:
    folder = str(world / "trusted")
    return status_of("signing", "trust", str(world / name), "--trusted-keys", folder, *more)


def verify(world: Path, *more: str) -> int:
    return status_of("bundle", "verify", str(world / "bundle.tar.gz"), *more)


def test_a_bundle_is_believed_by_folder_and_by_key(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(world, "--trusted-keys", str(world / "trusted"), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["trusted"], told["complete"]) == ("0.1.0", True, True)
    assert verify(world, "--key", str(world / "ours.key.pub")) == 0
    assert "is sound" in capsys.readouterr().out


def test_a_refusal_has_status_5_and_a_reason(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_of("signing", "keygen", str(world / "other.key"))
    assert verify(world, "--key", str(world / "other.key.pub"), "--json") == 5
    assert '"KEY_UNTRUSTED"' in capsys.readouterr().err
    path = world / "bundle.tar.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert verify(world, "--trusted-keys", str(world / "trusted"), "--json") == 5
    assert '"BUNDLE_TRUNCATED"' in capsys.readouterr().err


def test_nobody_trusted_is_said(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(world, "--trusted-keys", str(world), "--json") == 0
    (world / "empty").mkdir()
    assert verify(world, "--trusted-keys", str(world / "empty"), "--json") == 5
    assert '"NOBODY_TRUSTED"' in capsys.readouterr().err


def test_inspect_shows_files_and_bill(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(world / "bundle.tar.gz")
    assert status_of("bundle", "inspect", path, "--files") == 0
    shown = capsys.readouterr().out
    assert "engines/nats/latest -> nats-server" in shown
    assert "not trusted here" in shown
    assert status_of("bundle", "inspect", path, "--sbom") == 0
    assert capsys.readouterr().out == FILES["sbom.cdx.json"].decode()


def test_a_rotation_moves_trust_to_the_next_key(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status_of("signing", "keygen", str(world / "next.key"))
    ours = str(world / "ours.key")
    order = ["--add", str(world / "next.key.pub"), "--retire", f"{ours}.pub"]
    target = str(world / "rotation.json")
    assert status_of("signing", "rotate", "--key", ours, *order, "--output", target) == 0
    assert trust(world, "rotation.json") == 0
    capsys.readouterr()
    assert status_of("signing", "show", "--trusted-keys", str(world / "trusted"), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [key["public"] for key in shown] == [(world / "next.key.pub").read_text().strip()]
    assert trust(world, "rotation.json") == 5
    assert verify(world, "--trusted-keys", str(world / "trusted")) == 5


def test_a_wrong_fingerprint_and_the_last_key_are_refused(world: Path) -> None:
    status_of("signing", "keygen", str(world / "other.key"))
    assert trust(world, "other.key.pub", "--fingerprint", "ab" * 32) == 2
    assert len(list((world / "trusted").iterdir())) == 1
    key_id = next((world / "trusted").iterdir()).stem
    folder = str(world / "trusted")
    assert status_of("signing", "distrust", key_id, "--trusted-keys", folder) == 1
    assert len(list((world / "trusted").iterdir())) == 1


def test_a_manifest_is_signed_where_the_key_is(world: Path) -> None:
    """The signature is the one that the bundle carries; signing twice gives the same bytes."""
    (world / "manifest.json").write_bytes(encode_manifest(manifest_of()))
    key = str(world / "ours.key")
    assert status_of("signing", "sign", str(world / "manifest.json"), "--key", key) == 0
    first = (world / "manifest.sig").read_bytes()
    assert status_of("signing", "sign", str(world / "manifest.json"), "--key", key) == 0
    assert (world / "manifest.sig").read_bytes() == first
