"""What is accepted as a certificate, and that the API reads the same date out of it."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from appliance.base.clock import SystemClock
from appliance.base.errors import InvalidInputError, MisconfiguredError, NotFoundError
from appliance.config.model import Settings, TlsMode, TlsSettings
from appliance.config.tls import certificate_end, find_tls
from appliance.lifecycle.tls import (
    inspect_tls,
    install,
    make_self_signed,
    read_bundle,
    remove,
    tls_place,
)
from tests.support.authority import Authority, write_pem

CLOCK = SystemClock()
NOTHING: dict[str, str] = {}


@pytest.fixture
def authority() -> Authority:
    return Authority()


def read(folder: Path, *chain: x509.Certificate, key: object = None, extra: Path | None = None):
    certificate, private = write_pem(folder, *chain, key=key)
    return read_bundle(certificate, private, extra, clock=CLOCK, passphrase=None)


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["ecdsa", "ed25519"],
)
def test_a_chain_from_an_authority_is_installed_whole(
    tmp_path: Path, authority: Authority, key: ec.EllipticCurvePrivateKey
):
    """The installed file has key, certificate and chain, mode 0600, and OpenSSL accepts it."""
    leaf = authority.issue(("pug.example", "10.0.0.5"), key=key)
    bundle = read(tmp_path, leaf, authority.intermediate, key=key)
    place = tmp_path / "deep" / "server.pem"
    report = install(bundle, place)
    assert place.stat().st_mode & 0o777 == 0o600
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert report.names == ("pug.example", "10.0.0.5")
    assert (report.problems, report.self_signed, len(report.chain)) == ((), False, 1)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(place)
    assert certificate_end(place.read_text()) == leaf.not_valid_after_utc


def test_a_chain_in_a_file_of_its_own_and_out_of_order_is_put_in_order(
    tmp_path: Path, authority: Authority
):
    """Authorities send root and intermediate in any order."""
    leaf = authority.issue(("pug.example",))
    extra = tmp_path / "chain.pem"
    extra.write_bytes(authority.pem(authority.root, authority.intermediate))
    bundle = read(tmp_path, leaf, key=authority.key, extra=extra)
    assert bundle.reordered
    assert [name.split(",")[0] for name in bundle.report.chain] == ["CN=intermediate", "CN=root"]


def test_a_key_with_a_passphrase_is_opened_and_stored_without(tmp_path: Path, authority: Authority):
    """The service starts without anybody typing; the file's mode protects the key."""
    leaf = authority.issue(("pug.example",))
    certificate, private = write_pem(tmp_path, leaf, key=authority.key, passphrase=b"open sesame")
    with pytest.raises(InvalidInputError, match="protected by a passphrase"):
        read_bundle(certificate, private, None, clock=CLOCK, passphrase=None)
    bundle = read_bundle(certificate, private, None, clock=CLOCK, passphrase=b"open sesame")
    assert b"ENCRYPTED" not in bundle.pem


def test_der_files_are_understood(tmp_path: Path, authority: Authority):
    """Windows authorities hand out DER."""
    leaf = authority.issue(("pug.example",))
    certificate, key = tmp_path / "leaf.der", tmp_path / "key.der"
    certificate.write_bytes(leaf.public_bytes(serialization.Encoding.DER))
    key.write_bytes(
        authority.key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    report = read_bundle(certificate, key, None, clock=CLOCK, passphrase=None).report
    assert report.names == ("pug.example",)


def test_what_a_client_would_refuse_is_refused(tmp_path: Path, authority: Authority):
    """Another key, dates, no names, a short key, a foreign certificate, the wrong purpose."""
    now = datetime.now(tz=UTC)
    stranger = ec.generate_private_key(ec.SECP256R1())
    short = rsa.generate_private_key(65537, 1024)
    cases = (
        ("does not belong", authority.issue(("a.example",)), stranger),
        ("expired on", authority.issue(("a.example",), end=now - timedelta(days=1)), None),
        ("begins on", authority.issue(("a.example",), start=now + timedelta(days=2)), None),
        ("names no host", authority.issue(()), None),
        ("1024 bits", authority.issue(("a.example",), key=short), short),
        ("not for servers", authority.issue(("a.example",), for_servers=False), None),
    )
    for text, leaf, key in cases:
        with pytest.raises(InvalidInputError, match=text):
            read(tmp_path, leaf, key=key or authority.key)
    with pytest.raises(InvalidInputError, match="did not sign"):
        read(tmp_path, authority.issue(("a.example",)), Authority().root, key=authority.key)


def test_files_that_are_no_certificates(tmp_path: Path):
    """Garbage, a missing file, a key where the certificate should be."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(bytes(range(256)))
    with pytest.raises(InvalidInputError, match="has no certificate"):
        read_bundle(garbage, garbage, None, clock=CLOCK, passphrase=None)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_bundle(tmp_path / "none", garbage, None, clock=CLOCK, passphrase=None)
    leaf, key = write_pem(tmp_path, Authority().root, key=ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(InvalidInputError, match="has no certificate"):
        read_bundle(key, leaf, None, clock=CLOCK, passphrase=None)


def test_self_signed_is_without_problems(tmp_path: Path):
    """Host names, addresses of both families, a wild card; what we make we would import."""
    names = ("pug.example", "*.pug.example", "10.0.0.5", "2001:db8::5")
    bundle = make_self_signed(names, days=90, clock=CLOCK)
    assert bundle.report.names == names
    assert (bundle.report.days_left, bundle.report.problems) == (89, ())
    file = tmp_path / "own.pem"
    file.write_bytes(bundle.pem)
    assert read_bundle(file, file, None, clock=CLOCK, passphrase=None).report.self_signed
    for wrong in ("https://pug.example", "a b", "", "pug.example:443", "-x"):
        with pytest.raises(InvalidInputError, match="neither a host name"):
            make_self_signed((wrong,), days=1, clock=CLOCK)


def test_settings_decide_what_is_served(tmp_path: Path):
    """Auto follows the file, on insists, off ignores; credentials come first; half is an error."""
    data_dir, credentials = tmp_path / "data", tmp_path / "credentials"
    settings = Settings(data_dir=data_dir)
    assert find_tls(settings, NOTHING) is None
    with pytest.raises(MisconfiguredError, match=r"tls\.mode is on"):
        find_tls(Settings(data_dir=data_dir, tls=TlsSettings(mode=TlsMode.ON)), NOTHING)
    bundle = make_self_signed(("localhost",), days=1, clock=CLOCK)
    place = tls_place(settings)
    install(bundle, place)
    found = find_tls(settings, NOTHING)
    assert found is not None
    assert found.certificate == found.key == place == data_dir / "tls" / "server.pem"
    assert find_tls(Settings(data_dir=data_dir, tls=TlsSettings(mode=TlsMode.OFF)), {}) is None
    credentials.mkdir()
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert find_tls(settings, environment) == found
    (credentials / "tls-cert.pem").write_bytes(bundle.pem)
    with pytest.raises(MisconfiguredError, match=r"tls-key\.pem does not exist"):
        find_tls(settings, environment)
    (credentials / "tls_server.pem").write_bytes(bundle.pem)
    found = find_tls(settings, environment)
    assert found is not None
    assert found.key == credentials / "tls_server.pem"


def test_show_and_remove(tmp_path: Path):
    """What is installed is described; removed twice is an error."""
    settings = Settings(data_dir=tmp_path)
    assert inspect_tls(settings, CLOCK) is None
    place = tls_place(settings)
    install(make_self_signed(("localhost",), days=10, clock=CLOCK), place)
    report = inspect_tls(settings, CLOCK)
    assert report is not None
    assert (report.names, report.days_left, report.problems) == (("localhost",), 9, ())
    remove(place)
    with pytest.raises(NotFoundError):
        remove(place)
    elsewhere = Settings(data_dir=tmp_path, tls=TlsSettings(certificate=tmp_path / "theirs.pem"))
    with pytest.raises(MisconfiguredError, match="somebody else keeps"):
        tls_place(elsewhere)


@pytest.mark.parametrize("year", [2030, 2049, 2050, 2120])
def test_the_end_is_read_as_the_library_reads_it(authority: Authority, year: int):
    """Both forms of a date; a cut file is refused."""
    end = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    leaf = authority.issue(("a.example",), end=end)
    text = authority.pem(leaf).decode()
    assert certificate_end(text) == end
    for wrong in (text[:200], "", "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----"):
        with pytest.raises(ValueError, match=r"not|substring"):
            certificate_end(wrong)
