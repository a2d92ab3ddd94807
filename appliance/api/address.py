"""The address of the caller, behind the proxies the operator trusts.

Invariant: what headers say about a caller counts only when the peer is a trusted proxy: of
`X-Forwarded-For` the last hop that is not one, so that nobody can choose the address that limits,
the audit log, places and cookieless identity see; and what a content network says only where the
operator has one (`network.cdn_headers`). What is not believed never reaches the ingest chain.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from litestar.types import HTTPScope
from msgspec import Struct

_FORWARDED: Final = "x-forwarded-for"
_FORWARDED_NAME: Final = _FORWARDED.encode()
_CDN_ADDRESS: Final = ("cf-connecting-ip", "true-client-ip")
_CDN: Final = frozenset(
    {
        *_CDN_ADDRESS,
        "cf-ipcontinent",
        "cf-ipcountry",
        "cf-region",
        "cf-ipcity",
        "cf-postal-code",
        "cf-metro-code",
        "cf-iplatitude",
        "cf-iplongitude",
        "cf-timezone",
        "cf-bot-score",
        "cf-verified-bot",
    }
)
_CLAIMS: Final = _CDN | {_FORWARDED}
"""Everything that headers say about a caller [ingestion 4.1, 5, 7]."""
NOT_BELIEVED: Final = "-"
"""Stands for an address that came and is not believed: no address, but not nothing either, so that
a proxy nobody trusts shows in the metric of address sources [ingestion 4.1]."""
_HOPS_MAX: Final = 32


class Sender(Struct, frozen=True):
    """Who sent a request: its believed headers, the TCP peer, and the address of the caller."""

    headers: Mapping[str, str]
    peer: str
    address: str


class TrustedProxies:
    """Networks whose word about a caller is taken; `cdn_headers` says whether for all headers."""

    def __init__(self, networks: Iterable[str], *, cdn_headers: bool = False) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(each, strict=False) for each in networks
        )
        self._cdn_headers = cdn_headers

    def sender(self, scope: HTTPScope) -> Sender:
        """Who sent a request, as far as that is believed; the one door of every face."""
        headers = {  # of a repeated header the first counts, as in domain/ingest/facts.py
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(list(scope["headers"]))
        }
        if _FORWARDED in headers:  # some proxies add a header of their own to that of the client
            headers[_FORWARDED] = ",".join(
                value.decode("latin-1")
                for name, value in scope["headers"]
                if name == _FORWARDED_NAME
            )
        client = scope["client"]
        peer = client[0] if client else ""
        return Sender(self.believe(peer, headers), peer, self.caller(peer, headers.get(_FORWARDED)))

    def caller(self, peer: str, forwarded: str | None) -> str:
        """The caller's address; the peer's own when no trusted proxy names another."""
        if forwarded is None or not self._trusts(_parse(peer)):
            return peer
        return self._named(forwarded) or peer

    def believe(self, peer: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of a request without what is not believed about its caller.

        `X-Forwarded-For` then names the caller alone. Names are lower-case.
        """
        if _CLAIMS.isdisjoint(headers):
            return headers
        trusted = self._trusts(_parse(peer))
        kept = {
            name: value
            for name, value in headers.items()
            if name not in _CLAIMS or (trusted and self._cdn_headers and name in _CDN)
        }
        forwarded = headers.get(_FORWARDED)
        if trusted and forwarded is not None:
            kept[_FORWARDED] = self._named(forwarded) or NOT_BELIEVED
        elif forwarded is not None or any(
            name in headers and name not in kept for name in _CDN_ADDRESS
        ):
            kept[_FORWARDED] = NOT_BELIEVED
        return kept

    def _named(self, forwarded: str) -> str:
        """The caller that hops name, empty for none: the nearest that is no proxy of ours."""
        nearest = ""
        for hop in reversed([hop.strip() for hop in forwarded.split(",")][-_HOPS_MAX:]):
            address = _parse(hop)
            if address is None:
                return nearest
            nearest = hop
            if not self._trusts(address):
                return hop
        return nearest

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        if address is None:
            return False
        return any(address in network for network in self._networks)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address, IPv4 in IPv6 clothes unwrapped, as sockets of both kinds show their peers."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
