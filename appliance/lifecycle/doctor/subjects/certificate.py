"""Whether what clients send is encrypted on its way, and whose address is believed."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Mode, Subject

_FORWARDED: Final = ("x_forwarded_for", "cf_connecting_ip", "true_client_ip")
_UNBELIEVED: Final = "peer_after_rejected_header"
_PEER: Final = ("peer_no_header", _UNBELIEVED)
EXPIRY_WARNING_DAYS: Final = 30
ADDRESSES_MIN: Final = 20
"""Fewer addresses than that say nothing about how requests arrive."""


def judge_certificate(facts: Facts) -> Iterator[Verdict]:
    certificate = facts.certificate
    if certificate is None or not certificate.found:
        return
    if certificate.error:
        yield failed(certificate.error, certificate.hint or "see `pug-appliance tls show`")
    for problem in certificate.problems:
        yield failed(problem, "install a good one: `pug-appliance tls import CERT KEY`")
    if certificate.error or certificate.problems or certificate.expires_at is None:
        return
    until = f"the certificate is valid until {certificate.expires_at:%Y-%m-%d}"
    if certificate.days_left <= EXPIRY_WARNING_DAYS:
        yield warning(
            f"{until}, {certificate.days_left} days from now",
            "get a new one, then run `pug-appliance tls import CERT KEY`",
        )
    else:
        yield ok(until)


def judge_encrypted(facts: Facts) -> Iterator[Verdict]:
    certificate = facts.certificate
    if certificate is None or certificate.error:
        return
    if certificate.found:
        yield ok("the public port speaks HTTPS")
    elif facts.exposed:
        yield advice(
            facts,
            f"the public port speaks plain HTTP on {facts.settings.api.host}: keys, passwords and "
            "events can be read on the way",
            'run `pug-appliance tls import CERT KEY`, or set api.host = "127.0.0.1" and put a '
            "proxy with TLS in front (`pug-appliance template nginx`)",
        )
    else:
        yield ok("the public port is reached from this machine only; a proxy may speak HTTPS")


def judge_grpc(facts: Facts) -> Iterator[Verdict]:
    if facts.settings.api.grpc_port is None:
        return
    if facts.exposed:
        yield advice(
            facts,
            "native gRPC is served without TLS on a port that others can reach",
            "unset api.grpc_port, or let a proxy with TLS be the only one that reaches it",
        )
    else:
        yield ok("native gRPC is reached from this machine only")


def judge_self_signed(facts: Facts) -> Iterator[Verdict]:
    certificate = facts.certificate
    if certificate is None or certificate.expires_at is None:
        return
    if certificate.self_signed:
        yield note(
            "the certificate is signed by itself: each client must be told to trust it",
            "get one from the authority of this network, then `pug-appliance tls import`",
        )
    else:
        yield ok(f"the certificate is signed by {certificate.issuer}")


def judge_addresses(facts: Facts) -> Iterator[Verdict]:
    """Cookieless identity hashes the client's address; a proxy that hides it makes all one."""
    if facts.operation is None:
        return
    sources = facts.operation.address_sources
    forwarded = sum(sources.get(name, 0) for name in _FORWARDED)
    direct = sum(sources.get(name, 0) for name in _PEER)
    if forwarded + direct < ADDRESSES_MIN:
        return
    unbelieved = sources.get(_UNBELIEVED, 0)
    if unbelieved > forwarded:
        yield warning(
            f"{unbelieved} of {direct + forwarded} events came through a proxy nobody trusts: "
            "to us all of them are the proxy",
            "add its network to network.trusted_proxies (docs/geo.md)",
        )
    elif not facts.exposed and direct > forwarded and facts.place.mode is Mode.INSTALLED:
        yield warning(
            f"{direct} of {direct + forwarded} events came without the client's address: to us "
            "all of them are the proxy",
            "let the proxy set X-Forwarded-For (`pug-appliance template nginx` does)",
        )
    elif facts.exposed and forwarded and direct:
        yield warning(
            f"{forwarded} events came through the proxy, {direct} went around it",
            'let only the proxy reach the port (api.host = "127.0.0.1", or the firewall)',
        )
    else:
        yield ok("clients' addresses arrive in one way")


CHECKS: Final = (
    Check(
        name="certificate",
        subject=Subject.CERTIFICATE,
        question="Is the certificate valid, and for how long?",
        judge=judge_certificate,
    ),
    Check(
        name="encrypted",
        subject=Subject.CERTIFICATE,
        question="Is what clients send encrypted on its way?",
        judge=judge_encrypted,
    ),
    Check(
        name="grpc-encrypted",
        subject=Subject.CERTIFICATE,
        question="Is native gRPC reached without TLS?",
        judge=judge_grpc,
    ),
    Check(
        name="self-signed",
        subject=Subject.CERTIFICATE,
        question="Do clients trust the certificate by themselves?",
        judge=judge_self_signed,
    ),
    Check(
        name="client-addresses",
        subject=Subject.CERTIFICATE,
        question="Do clients' addresses arrive, and can they be forged?",
        judge=judge_addresses,
    ),
)
