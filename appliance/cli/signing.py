"""`signing`: the keys bundles are signed with, and whom this machine believes.

Invariant: a private key is never printed and never overwritten. Which change of trust is allowed is
decided in `lifecycle/trust.py`.
"""

from pathlib import Path
from typing import Final

import click
import msgspec

from appliance.base.errors import InvalidInputError, NotFoundError
from appliance.base.files import write_atomic
from appliance.cli.options import json_option, print_json, print_table
from appliance.lifecycle.layout import (
    MANIFEST_NAME,
    PUBLIC_FILE,
    SIGNATURE_NAME,
    Layout,
    find_prefix,
    load_layout,
)
from appliance.lifecycle.manifest import MANIFEST_BYTES_MAX, decode_manifest
from appliance.lifecycle.signature import (
    PUBLIC_SUFFIX,
    PublicKey,
    load_key,
    load_trusted_keys,
    make_key,
    public_half,
    sign,
)
from appliance.lifecycle.trust import (
    ROTATION_BYTES_MAX,
    TrustChange,
    apply_rotation,
    change_trust,
    fits,
    is_rotation,
    make_rotation,
    need_writable,
    read_key,
    write_key,
)

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_FOLDER: Final = click.Path(path_type=Path, file_okay=False)

_keys_option = click.option(
    "--trusted-keys", type=_FOLDER, help="Folder of trusted keys.  [default: the installed ones]"
)


class KeyReport(msgspec.Struct, frozen=True, kw_only=True):
    """One public key."""

    id: str
    fingerprint: str
    public: str


@click.group()
def signing() -> None:
    """Keys that bundles are signed with, and those that are trusted here."""


@signing.command()
@click.argument("file", type=_FILE)
@json_option
def keygen(*, file: Path, as_json: bool) -> None:
    """Make a private key in FILE (mode 0600), and its public half in FILE.pub."""
    key = make_key(file)
    public = file.with_name(f"{file.name}{PUBLIC_SUFFIX}")
    write_key(public, key)
    _tell(key, as_json=as_json)
    if not as_json:
        click.echo(f"keep {file} offline; give {public} to whoever installs", err=True)


@signing.command()
@click.argument("file", type=_FILE, required=False)
@_keys_option
@json_option
def show(*, file: Path | None, trusted_keys: Path | None, as_json: bool) -> None:
    """Show the public key in FILE (private or public), or every key that is trusted here."""
    if file is not None:
        _tell(_public_of(file), as_json=as_json)
        return
    folder = trusted_keys or _installed_keys()
    keys = load_trusted_keys(folder).keys
    if as_json:
        print_json([_report(key) for key in keys])
    elif keys:
        print_table(("id", "fingerprint (SHA-256)"), [(key.id, key.fingerprint) for key in keys])
    else:
        click.echo(f"no key is trusted in {folder}", err=True)


@signing.command(name="sign")
@click.argument("manifest", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="The private key.")
@click.option("--output", type=_FILE, help=f"The file to write.  [default: {SIGNATURE_NAME} there]")
@json_option
def sign_(*, manifest: Path, key: Path, output: Path | None, as_json: bool) -> None:
    """Sign the MANIFEST (manifest.json) of a release."""
    content = _read(manifest, limit=MANIFEST_BYTES_MAX)
    decode_manifest(content)
    private = load_key(key)
    target = output or manifest.with_name(SIGNATURE_NAME)
    write_atomic(target, sign(private, content), mode=PUBLIC_FILE)
    if as_json:
        print_json({"signature": str(target), "key_id": public_half(private).id})
    else:
        print(f"{target}: signed by {public_half(private).id}")


@signing.command()
@click.option("--key", type=_FILE, required=True, help="The private key that is trusted today.")
@click.option(
    "--add", type=_FILE, multiple=True, required=True, help="A key to trust. May be repeated."
)
@click.option(
    "--retire", type=_FILE, multiple=True, help="A key to trust no longer. May be repeated."
)
@click.option("--output", type=_FILE, required=True, help="The rotation to write.")
def rotate(*, key: Path, add: tuple[Path, ...], retire: tuple[Path, ...], output: Path) -> None:
    """Write a rotation: a signed order to trust other keys, for `signing trust` on each machine."""
    content = make_rotation(
        load_key(key),
        added=tuple(map(_public_of, add)),
        retired=tuple(map(_public_of, retire)),
    )
    write_atomic(output, content, mode=PUBLIC_FILE)
    print(f"{output}: on every machine run `pug-appliance signing trust {output.name}`")


@signing.command()
@click.argument("file", type=_FILE)
@click.option("--fingerprint", help="Refuse the key unless this is its SHA-256 (64 digits).")
@_keys_option
@json_option
def trust(*, file: Path, fingerprint: str | None, trusted_keys: Path | None, as_json: bool) -> None:
    """Trust the public key in FILE, or follow the rotation in FILE.

    A rotation must be signed with a key that is trusted here. A key needs nothing but root's word:
    compare its fingerprint with its maker's by another way, and name it with --fingerprint.
    """
    folder = trusted_keys or _installed_keys()
    need_writable(folder)
    content = _read(file, limit=ROTATION_BYTES_MAX)
    if is_rotation(content):
        if fingerprint is not None:
            raise click.UsageError("--fingerprint is for a key, a rotation is signed")
        _tell_change(apply_rotation(folder, content), as_json=as_json)
        return
    key = read_key(file)
    if fingerprint is not None and not fits(key, fingerprint):
        raise InvalidInputError(
            "FINGERPRINT_WRONG",
            f"the fingerprint of {file} is {key.fingerprint}, another one was expected",
            hint="do not trust this key; ask its maker again",
        )
    _tell_change(change_trust(folder, added=(key,), retired=()), as_json=as_json)


@signing.command()
@click.argument("key_id")
@_keys_option
@json_option
def distrust(*, key_id: str, trusted_keys: Path | None, as_json: bool) -> None:
    """Trust the key KEY-ID (16 digits) no longer; the last one stays."""
    folder = trusted_keys or _installed_keys()
    key = load_trusted_keys(folder).find(key_id)
    if key is None:
        raise NotFoundError(
            "KEY_UNKNOWN", f"no key {key_id} is trusted", hint="see `pug-appliance signing show`"
        )
    _tell_change(change_trust(folder, added=(), retired=(key,)), as_json=as_json)


def _installed_keys() -> Path:
    try:
        return load_layout(find_prefix()).trusted_keys
    except NotFoundError:
        return Layout().trusted_keys


def _public_of(path: Path) -> PublicKey:
    """The public half of a key file of either kind; only our name tells them apart."""
    if path.suffix == PUBLIC_SUFFIX:
        return read_key(path)
    return public_half(load_key(path))


def _read(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise NotFoundError(
            "FILE_MISSING",
            f"{path} cannot be read: {error.strerror}",
            hint=f"name a key, a rotation or a {MANIFEST_NAME}",
        ) from error
    if len(content) > limit:
        raise InvalidInputError("FILE_TOO_LARGE", f"{path} has more than {limit} bytes")
    return content


def _report(key: PublicKey) -> KeyReport:
    return KeyReport(id=key.id, fingerprint=key.fingerprint, public=key.text)


def _tell(key: PublicKey, *, as_json: bool) -> None:
    if as_json:
        print_json(_report(key))
        return
    for heading, text in (("id", key.id), ("SHA-256", key.fingerprint), ("public", key.text)):
        print(f"{heading:<10}{text}")


def _tell_change(change: TrustChange, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "added": [_report(key) for key in change.added],
                "removed": [_report(key) for key in change.removed],
            }
        )
        return
    for key in change.added:
        print(f"trusted from now on: {key.fingerprint}")
    for key in change.removed:
        print(f"no longer trusted:   {key.fingerprint}")
    if not change.added and not change.removed:
        print("nothing changed")
