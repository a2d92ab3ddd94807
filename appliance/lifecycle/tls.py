"""Certificates of the public port: check, install, make, show, remove.

Invariant: a certificate is installed only when a client that trusts its issuer would accept it:
the key fits, the chain is whole and in order, the dates hold, it names a host. It is one file of
mode 0600, replaced in one rename, so key and certificate always belong together. Who serves with
it is decided in `config/tls.py`.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.base.clock import Clock
from appliance.base.errors import InvalidInputError, MisconfiguredError, NotFoundError
from appliance.base.files import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    ensure_folder,
    flush_folder,
    unwritable,
    write_atomic,
)
from appliance.config.model import Settings, TlsMode
from appliance.config.tls import BUNDLE_NAME, TlsFiles, find_tls, tls_folder
from appliance.lifecycle.layout import find_prefix, load_layout

EXPIRY_WARNING_DAYS: Final = 30
SELF_SIGNED_DAYS: Final = 825
"""The longest life that current browsers accept of a certificate trusted by hand."""

_CHAIN_CERTIFICATES_MAX: Final = 10
_FILE_BYTES_MAX: Final = 1 << 20
_RSA_BITS_MIN: Final = 2048
_CLOCK_SLACK: Final = timedelta(days=1)
_WEAK_HASHES: Final = frozenset({"md5", "sha1"})
_COMMON_NAME_LETTERS_MAX: Final = 64
_HOST_NAME: Final = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class TlsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about an installed certificate. `problems` are sentences."""

    path: str
    names: tuple[str, ...]
    issuer: str
    self_signed: bool
    starts_at: datetime
    expires_at: datetime
    days_left: int
    key: str
    fingerprint_sha256: str
    chain: tuple[str, ...]
    problems: tuple[str, ...] = ()


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A checked certificate, ready to be installed."""

    pem: bytes
    report: TlsReport
    reordered: bool = False


def tls_place(settings: Settings) -> Path:
    """The file that `import` and `self-signed` write.

    The installation's own folder when these settings belong to an installed appliance, else the
    data directory. Raises MisconfiguredError when the settings name files of somebody else.
    """
    if settings.tls.certificate is not None:
        raise MisconfiguredError(
            "TLS_ELSEWHERE",
            f"tls.certificate names {settings.tls.certificate}, which somebody else keeps",
            hint="replace that file yourself, or remove tls.certificate and tls.key",
        )
    try:
        layout = load_layout(find_prefix())
    except NotFoundError:
        return tls_folder(settings) / BUNDLE_NAME
    if layout.data_dir == settings.data_dir:
        return layout.tls / BUNDLE_NAME
    return tls_folder(settings) / BUNDLE_NAME


def installed_files(settings: Settings) -> TlsFiles | None:
    """The files in use, as root's command line sees them; None for plain HTTP.

    Raises MisconfiguredError when half of them is missing.
    """
    if settings.tls.mode is TlsMode.OFF:
        return None
    if settings.tls.certificate is None:
        place = tls_place(settings)
        if place.exists():
            return TlsFiles(certificate=place, key=place)
    return find_tls(settings)


def read_bundle(
    certificate: Path, key: Path, chain: Path | None, *, clock: Clock, passphrase: bytes | None
) -> Bundle:
    """Read and check what an authority gave us; PEM and DER are understood.

    Raises InvalidInputError naming the first thing a client would refuse.
    """
    given = _load_certificates(certificate)
    if chain is not None:
        given = [*given, *_load_certificates(chain)]
    private = _load_key(key, passphrase)
    leaf = _matching(given, private)
    ordered = order_chain(leaf, given)
    report = describe(ordered, private, path=certificate, clock=clock)
    if report.problems:
        raise _refused(report.problems[0], "; ".join(report.problems[1:]))
    return Bundle(pem=_render(ordered, private), report=report, reordered=ordered != given)


def make_self_signed(names: Sequence[str], *, days: int, clock: Clock) -> Bundle:
    """A certificate of our own for these host names and addresses.

    Raises InvalidInputError for a name that is neither.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = clock.now()
    hosts = [_general_name(name) for name in names]
    common = [x509.NameAttribute(NameOID.COMMON_NAME, names[0][:_COMMON_NAME_LETTERS_MAX])]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(common))
        .issuer_name(x509.Name(common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    report = describe([certificate], key, path=Path(BUNDLE_NAME), clock=clock)
    return Bundle(pem=_render([certificate], key), report=report)


def install(bundle: Bundle, place: Path) -> TlsReport:
    """Put a checked certificate in its place in one rename; what was there before is replaced.

    Raises MisconfiguredError when the folder cannot be written.
    """
    ensure_folder(place.parent, mode=PRIVATE_FOLDER)
    write_atomic(place, bundle.pem, mode=PRIVATE_FILE)
    return msgspec.structs.replace(bundle.report, path=str(place))


def remove(place: Path) -> None:
    """Serve plain HTTP from the next start on; raises NotFoundError when there is nothing."""
    try:
        place.unlink()
        flush_folder(place.parent)
    except FileNotFoundError as error:
        raise NotFoundError("TLS_MISSING", "there is no certificate to remove") from error
    except OSError as error:
        raise unwritable(place, error) from error


def inspect_tls(settings: Settings, clock: Clock) -> TlsReport | None:
    """The certificate in use with everything that is wrong with it; None for plain HTTP.

    Raises MisconfiguredError or InvalidInputError when it cannot be read at all.
    """
    files = installed_files(settings)
    if files is None:
        return None
    private = _load_key(files.key, None)
    chain = _load_certificates(files.certificate)
    return describe(chain, private, path=files.certificate, clock=clock)


def describe(
    chain: Sequence[x509.Certificate], key: _PrivateKey, *, path: Path, clock: Clock
) -> TlsReport:
    """What a certificate says, and why a client would refuse it."""
    leaf = chain[0]
    left = leaf.not_valid_after_utc - clock.now()
    return TlsReport(
        path=str(path),
        names=_names(leaf),
        issuer=leaf.issuer.rfc4514_string(),
        self_signed=leaf.issuer == leaf.subject,
        starts_at=leaf.not_valid_before_utc,
        expires_at=leaf.not_valid_after_utc,
        days_left=left.days,
        key=_key_text(key),
        fingerprint_sha256=leaf.fingerprint(hashes.SHA256()).hex(":"),
        chain=tuple(one.subject.rfc4514_string() for one in chain[1:]),
        problems=tuple(_problems(chain, key, clock.now())),
    )


def order_chain(
    leaf: x509.Certificate, given: Sequence[x509.Certificate]
) -> list[x509.Certificate]:
    """The certificates from the server's to the last one given, each signed by the next.

    Raises InvalidInputError for one that does not belong to the chain.
    """
    rest = [one for one in given if one != leaf]
    ordered = [leaf]
    while rest:
        issuer = next((one for one in rest if _issued(ordered[-1], one)), None)
        if issuer is None:
            raise _refused(
                f"{rest[0].subject.rfc4514_string()} did not sign "
                f"{ordered[-1].subject.rfc4514_string()}",
                "give exactly the certificates between yours and the root",
            )
        ordered.append(issuer)
        rest.remove(issuer)
    return ordered


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _problems(chain: Sequence[x509.Certificate], key: _PrivateKey, now: datetime) -> Iterator[str]:
    leaf = chain[0]
    if _public_bytes(leaf) != _key_bytes(key):
        yield "the key does not belong to the certificate"
    for one in chain:
        yield from _problems_alone(one, now)
    for number, one in enumerate(chain[:-1]):
        if not _issued(one, chain[number + 1]):
            yield f"{one.subject.rfc4514_string()} is not signed by the certificate after it"
    if not _names(leaf):
        yield "the certificate names no host (subjectAltName is missing)"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS_MIN:
        yield f"the key has {key.key_size} bits, {_RSA_BITS_MIN} are needed"
    if not _is_for_servers(leaf):
        yield "the certificate is not for servers (extended key usage)"


def _problems_alone(one: x509.Certificate, now: datetime) -> Iterator[str]:
    name = one.subject.rfc4514_string()
    if one.not_valid_after_utc <= now:
        yield f"the certificate of {name} expired on {_day(one.not_valid_after_utc)}"
    if one.not_valid_before_utc > now:
        yield (
            f"the certificate of {name} begins on {_day(one.not_valid_before_utc)}, "
            f"and this machine's clock says {_day(now)}"
        )
    algorithm = one.signature_hash_algorithm
    if one.subject != one.issuer and algorithm and algorithm.name in _WEAK_HASHES:
        yield f"the certificate of {name} is signed with {algorithm.name}, which clients refuse"


def _is_for_servers(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    wanted = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return any(one in wanted for one in usage)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *(str(one) for one in names.get_values_for_type(x509.IPAddress)))


def _general_name(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    try:
        plain = name.encode("idna").decode("ascii")
    except UnicodeError:
        plain = ""
    if _HOST_NAME.fullmatch(plain):
        return x509.DNSName(plain)
    raise InvalidInputError(
        "NAME_UNUSABLE",
        f"{name!r} is neither a host name nor an address",
        hint="give names like pug.example.org or 10.0.0.5, without scheme and port",
    )


def _load_certificates(path: Path) -> list[x509.Certificate]:
    content = _read(path)
    try:
        if b"-----BEGIN" in content:
            found = x509.load_pem_x509_certificates(content)
        else:
            found = [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise _refused(
            f"{path} has no certificate", "give a file in PEM or DER form (not PKCS #12)"
        ) from error
    if len(found) > _CHAIN_CERTIFICATES_MAX:
        raise _refused(f"{path} has {len(found)} certificates", "give the server's chain only")
    return found


def _load_key(path: Path, passphrase: bytes | None) -> _PrivateKey:
    content = _read(path)
    try:
        if b"-----BEGIN" in content:
            start = content.find(b"-----BEGIN", max(0, content.find(b"PRIVATE KEY") - 40))
            key = serialization.load_pem_private_key(content[start:], passphrase)
        else:
            key = serialization.load_der_private_key(content, passphrase)
    except TypeError as error:
        needed = passphrase is None
        raise _refused(
            f"the key in {path} is {'' if needed else 'not '}protected by a passphrase",
            "name a file with it: --passphrase-file" if needed else "leave --passphrase-file out",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _refused(
            f"{path} has no private key that can be read",
            "give a file in PEM or DER form, and the right passphrase if it has one",
        ) from error
    if isinstance(key, _PrivateKey):
        return key
    raise _refused(f"the key in {path} cannot sign for TLS", "use an ECDSA, RSA or Ed25519 key")


def _matching(given: Sequence[x509.Certificate], key: _PrivateKey) -> x509.Certificate:
    wanted = _key_bytes(key)
    for one in given:
        if _public_bytes(one) == wanted:
            return one
    raise _refused(
        "the key does not belong to the certificate",
        f"find the key that {given[0].subject.rfc4514_string()} was made with",
    )


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _key_bytes(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _render(chain: Sequence[x509.Certificate], key: _PrivateKey) -> bytes:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)


def _key_text(key: _PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"ECDSA {key.curve.name}"
    return "Ed25519"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise InvalidInputError(
            "TLS_UNREADABLE",
            f"{path} cannot be read: {error.strerror}",
            hint="check the name and the permissions",
        ) from error


def _refused(message: str, hint: str) -> InvalidInputError:
    return InvalidInputError("TLS_REFUSED", message, hint=hint)


def _day(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d")
