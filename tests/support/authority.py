"""A certificate authority for tests: a root, an intermediate, and what they issue.

Invariant: everything is made at the time of the test, so nothing expires in the repository.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class Authority:
    """Issues certificates; `key` is the one they are for unless another is given."""

    def __init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._intermediate_key = ec.generate_private_key(ec.SECP256R1())
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = _sign("root", self._root_key, "root", self._root_key, ca=True)
        self.intermediate = _sign(
            "intermediate", self._intermediate_key, "root", self._root_key, ca=True
        )

    def issue(
        self,
        names: Sequence[str],
        *,
        key: Key | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        for_servers: bool = True,
    ) -> x509.Certificate:
        """A server's certificate, signed by the intermediate."""
        return _sign(
            "server",
            key or self.key,
            "intermediate",
            self._intermediate_key,
            names=names,
            start=start,
            end=end,
            for_servers=for_servers,
        )

    @staticmethod
    def pem(*certificates: x509.Certificate) -> bytes:
        """Certificates as text."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def write_pem(
    folder: Path,
    *chain: x509.Certificate,
    key: Key,
    passphrase: bytes | None = None,
) -> tuple[Path, Path]:
    """The files an authority hands out: certificate and key."""
    certificate, private = folder / "given.crt", folder / "given.key"
    certificate.write_bytes(Authority.pem(*chain))
    protection = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    )
    return certificate, private


def _sign(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    names: Sequence[str] = (),
    ca: bool = False,
    start: datetime | None = None,
    end: datetime | None = None,
    for_servers: bool = True,
) -> x509.Certificate:
    now = datetime.now(tz=UTC).replace(microsecond=0)
    end = end or now + timedelta(days=30)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or min(now, end) - timedelta(days=1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        hosts = [_general_name(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    if not ca:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if for_servers else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
