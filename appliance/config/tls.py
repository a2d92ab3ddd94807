"""Where certificate and key of the public port are, and what the API must know of them.

Invariant: HTTPS is served as soon as there is a certificate and never half: a certificate without
its key, or `tls.mode = on` without a certificate, ends the start instead of falling back to plain
HTTP. Checking and installing certificates is `lifecycle/tls.py`.
"""

import base64
import binascii
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from appliance.base.errors import MisconfiguredError
from appliance.config.model import Settings, TlsMode
from appliance.config.sources import process_environment

BUNDLE_NAME: Final = "server.pem"
"""Key, certificate and chain in one file, so that one rename replaces all of them."""
_CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_CREDENTIALS: Final = (
    ("tls_server.pem", "tls_server.pem"),  # LoadCredential=tls:FOLDER, one for each file
    ("tls-cert.pem", "tls-key.pem"),
)
_CERTIFICATE_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_END: Final = "-----END CERTIFICATE-----"

_SEQUENCE: Final = 0x30
_EXPLICIT_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_LONG_LENGTH: Final = 0x80


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The PEM files of the public port; both may be the same file."""

    certificate: Path
    key: Path


def find_tls(settings: Settings, environment: Mapping[str, str] | None = None) -> TlsFiles | None:
    """The certificate and key to serve with, or None for plain HTTP.

    Looked for in the service manager's credentials, then `tls.certificate` and `tls.key`, then
    the data directory. Raises MisconfiguredError when half of it is missing.
    """
    if settings.tls.mode is TlsMode.OFF:
        return None
    found = _from_credentials(process_environment() if environment is None else environment)
    found = found or _from_settings(settings) or _from_data_dir(settings)
    if found is None and settings.tls.mode is TlsMode.ON:
        raise MisconfiguredError(
            "TLS_MISSING",
            "tls.mode is on, but there is no certificate",
            hint="run `pug-appliance tls import CERT KEY` or `pug-appliance tls self-signed`",
        )
    return found


def tls_folder(settings: Settings) -> Path:
    """Where an installation without systemd keeps its certificate."""
    return settings.data_dir / "tls"


def _from_credentials(environment: Mapping[str, str]) -> TlsFiles | None:
    folder = environment.get(_CREDENTIALS_VARIABLE)
    if not folder:
        return None
    for certificate, key in _CREDENTIALS:
        files = TlsFiles(certificate=Path(folder, certificate), key=Path(folder, key))
        if files.certificate.exists():
            return _whole(files)
    return None


def _from_settings(settings: Settings) -> TlsFiles | None:
    certificate, key = settings.tls.certificate, settings.tls.key
    if certificate is None:
        return None
    return _whole(TlsFiles(certificate=certificate, key=key or certificate))


def _from_data_dir(settings: Settings) -> TlsFiles | None:
    path = tls_folder(settings) / BUNDLE_NAME
    return TlsFiles(certificate=path, key=path) if path.exists() else None


def _whole(files: TlsFiles) -> TlsFiles:
    for path in (files.certificate, files.key):
        if not path.exists():
            raise MisconfiguredError(
                "TLS_MISSING",
                f"{path} does not exist",
                hint="check tls.certificate and tls.key, or import the certificate again",
            )
    return files


def pinned_context(files: TlsFiles) -> ssl.SSLContext:
    """What a command on this machine uses to talk to our own API: our certificate and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # we come over loopback, the names in it are for others
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=first_certificate(files.certificate.read_text("ascii")))
    return context


def load_expiry(files: TlsFiles) -> datetime:
    """When the certificate ends.

    Raises MisconfiguredError for a file that has none.
    """
    try:
        return certificate_end(files.certificate.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise MisconfiguredError(
            "TLS_UNREADABLE",
            f"{files.certificate} cannot be read as a certificate",
            hint="see `pug-appliance tls show`",
        ) from error


def first_certificate(text: str) -> str:
    """The first certificate of a PEM text, with its armour; raises ValueError without one."""
    start = text.index(_CERTIFICATE_BEGIN)
    return text[start : text.index(_CERTIFICATE_END, start) + len(_CERTIFICATE_END)] + "\n"


def certificate_end(text: str) -> datetime:
    """The end of validity of the first certificate of a PEM text; raises ValueError.

    Four steps through the DER form of RFC 5280, 4.1, because a cryptography library costs an API
    process 15 MB for this one date.
    """
    armoured = first_certificate(text)
    body = armoured.removeprefix(_CERTIFICATE_BEGIN).strip().removesuffix(_CERTIFICATE_END)
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
        certificate, _ = _element(der, _SEQUENCE)
        signed, _ = _element(certificate, _SEQUENCE)
        rest = _skip(signed) if signed[0] == _EXPLICIT_VERSION else signed
        for _ in ("serial number", "signature algorithm", "issuer"):
            rest = _skip(rest)
        validity, _ = _element(rest, _SEQUENCE)
        return _time(_skip(validity))
    except (IndexError, binascii.Error) as error:
        raise ValueError("not a certificate") from error


def _split(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and what follows it."""
    tag, length, start = der[0], der[1], 2
    if length & _LONG_LENGTH:
        start += length & ~_LONG_LENGTH
        length = int.from_bytes(der[2:start], "big")
    if start + length > len(der):
        raise ValueError("not a certificate")
    return tag, der[start : start + length], der[start + length :]


def _element(der: bytes, wanted: int) -> tuple[bytes, bytes]:
    tag, content, rest = _split(der)
    if tag != wanted:
        raise ValueError("not a certificate")
    return content, rest


def _skip(der: bytes) -> bytes:
    return _split(der)[2]


def _time(der: bytes) -> datetime:
    tag, content, _ = _split(der)
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year; 50 and above are the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("not a certificate")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
