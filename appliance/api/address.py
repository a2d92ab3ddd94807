"""The address of the caller, behind the proxies the operator trusts.

Invariant: a header counts only when the peer is a trusted proxy, and of `X-Forwarded-For` the last
hop that is not one, so that nobody can choose the address that limits and the audit log see.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_FORWARDED = "x-forwarded-for"
_HOPS_MAX = 32


class TrustedProxies:
    """Networks whose word about a caller's address is taken."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(each, strict=False) for each in networks
        )

    def caller(self, peer: str, forwarded: str | None) -> str:
        """The caller's address; the peer's own when no trusted proxy names another."""
        if forwarded is None or not self._trusts(peer):
            return peer
        hops = [hop.strip() for hop in forwarded.split(",")][-_HOPS_MAX:]
        nearest = peer
        for hop in reversed(hops):
            if not _is_address(hop):
                return nearest
            nearest = hop
            if not self._trusts(hop):
                return hop
        return nearest

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        found = ip_address(address)
        return any(found in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
