"""The address of the caller, behind the proxies the operator trusts.

Invariant: what headers say about a caller counts only when the peer is a trusted proxy: of
`X-Forwarded-For` the last hop that is not one, so that nobody can choose the address that limits,
the audit log, places and cookieless identity see; and what a content network says only where the
operator has one (`network.cdn_headers`). What is not believed never reaches the ingest chain: see
decision 0027.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from litestar.types import HTTPScope
from msgspec import Struct

from appliance.domain.ingest.facts import CDN_HEADERS

_FORWARDED: Final = "x-forwarded-for"
_FORWARDED_NAME: Final = _FORWARDED.encode()
_ADDRESSES: Final = (_FORWARDED, "cf-connecting-ip", "true-client-ip")
_NOTHING: Final = frozenset[str]()
_CLAIMS: Final = CDN_HEADERS | {_FORWARDED}
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
        return self.judge(client[0] if client else "", headers)

    def judge(self, peer: str, headers: Mapping[str, str]) -> Sender:
        """Who a peer is, or speaks for, with what is believed of these headers (lower-case names).

        The address is the peer's own when no trusted proxy names another; `X-Forwarded-For` then
        names the caller alone, or nobody.
        """
        if _CLAIMS.isdisjoint(headers):
            return Sender(headers, peer, peer)
        trusted = self._trusts(_parse(peer))
        forwarded = headers.get(_FORWARDED)
        named = self._named(forwarded) if trusted and forwarded is not None else ""
        believed = CDN_HEADERS if trusted and self._cdn_headers else _NOTHING
        kept = {
            name: value
            for name, value in headers.items()
            if name not in _CLAIMS or name in believed
        }
        claims_address = any(name in headers and name not in kept for name in _ADDRESSES)
        if named or claims_address:
            kept[_FORWARDED] = named or NOT_BELIEVED
        return Sender(kept, peer, named or peer)

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
