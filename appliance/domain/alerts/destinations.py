"""Where webhooks may go: nowhere but to what the operator listed.

Invariant: an address of this machine, of its link or of a cloud's own services is refused even
when a listed name leads there, unless that very address is listed. Decided twice: for the URL when
it is stored, for the addresses of its name each time something is sent. Pure; who resolves names
is `services/alerts/webhooks.py`.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from appliance.base.errors import InvalidInputError, UnmetError

SCHEMES: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65535
_NAME_CHARACTERS_MAX: Final = 253
_METADATA: Final = (
    ip_network("169.254.0.0/16"),
    ip_network("100.100.100.200/32"),
    ip_network("192.0.0.0/24"),
    ip_network("fd00:ec2::/32"),
    ip_network("fe80::/10"),
)
"""Where clouds keep what their machines are told; inside a closed network nobody is there."""

Address = IPv4Address | IPv6Address


class Destination(Struct, frozen=True, kw_only=True):
    """The parts of a webhook's URL; `target` is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == SCHEMES[self.scheme] else f"{shown}:{self.port}"


class ListedName(Struct, frozen=True, kw_only=True):
    """A listed host name; without a port any port."""

    host: str
    port: int | None


class ListedNetwork(Struct, frozen=True, kw_only=True):
    """A listed address or network; without a port any port."""

    network: IPv4Network | IPv6Network
    port: int | None


class AllowList(Struct, frozen=True, kw_only=True):
    """What the operator listed in `alerts.webhook_hosts`; empty: webhooks are off."""

    names: tuple[ListedName, ...] = ()
    networks: tuple[ListedNetwork, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether webhooks are switched off."""
        return not self.names and not self.networks

    def admits(self, destination: Destination) -> bool:
        """Whether the host of a URL is listed."""
        literal = _literal(destination.host)
        if literal is not None:
            return self._lists(literal, destination.port)
        return any(
            name.host == destination.host and name.port in {None, destination.port}
            for name in self.names
        )

    def reachable(self, destination: Destination, addresses: Iterable[str]) -> tuple[str, ...]:
        """The addresses of its name that may be connected to."""
        found: list[str] = []
        for text in addresses:
            address = _literal(text)
            if address is None:
                continue
            if not _is_inner(address) or self._lists(address, destination.port):
                found.append(str(address))
        return tuple(found)

    def _lists(self, address: Address, port: int) -> bool:
        plain = _plain(address)
        return any(
            plain in one.network and one.port in {None, port}
            for one in self.networks
            if one.network.version == plain.version
        )


def parse_allow_list(entries: Iterable[str]) -> AllowList:
    """The setting, read: `hooks.example`, `hooks.example:8443`, `10.1.2.3`, `10.1.2.0/24`.

    Raises ValueError naming the entry that is none of these.
    """
    names: list[ListedName] = []
    networks: list[ListedNetwork] = []
    for entry in entries:
        host, port = _split_port(entry.strip())
        try:
            networks.append(ListedNetwork(network=ip_network(host.strip("[]")), port=port))
        except ValueError:
            if not _is_name(host):
                raise ValueError(f"{entry!r} is neither a host name nor an address") from None
            names.append(ListedName(host=host.lower().rstrip("."), port=port))
    return AllowList(names=tuple(names), networks=tuple(networks))


def parse_destination(url: str) -> Destination:
    """The parts of a webhook's URL; raises InvalidInputError (`INVALID_WEBHOOK_URL`)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _invalid("it cannot be read") from error
    host = (parts.hostname or "").rstrip(".")
    if not url.isascii() or any(not one.isprintable() or one.isspace() for one in url):
        raise _invalid("it holds characters that no address has")
    if parts.scheme not in SCHEMES:
        raise _invalid("it begins with http:// or https://")
    if "@" in parts.netloc or parts.fragment:
        raise _invalid("it has neither a user nor a fragment")
    if "%" in host or (_literal(host) is None and not _is_name(host)):
        raise _invalid("its host is a name or an address")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(
        scheme=parts.scheme,
        host=host,
        port=SCHEMES[parts.scheme] if port is None else port,
        target=target,
    )


def require_listed(allowed: AllowList, destination: Destination) -> None:
    """Return when the operator listed a host; raises UnmetError otherwise.

    `WEBHOOKS_OFF` when nothing is listed, `WEBHOOK_HOST_NOT_LISTED` when this one is not.
    """
    if allowed.is_empty:
        raise UnmetError(
            "WEBHOOKS_OFF",
            "webhooks are switched off on this installation",
            hint="list the hosts they may go to in alerts.webhook_hosts",
        )
    if not allowed.admits(destination):
        raise UnmetError(
            "WEBHOOK_HOST_NOT_LISTED",
            "the operator of this installation does not allow webhooks to this host",
            hint="add it to alerts.webhook_hosts",
        )


def _invalid(sentence: str) -> InvalidInputError:
    return InvalidInputError(
        "INVALID_WEBHOOK_URL", f"the address of a webhook is wrong: {sentence}"
    )


def _split_port(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry; an IPv6 address with a port stands in brackets."""
    host, colon, port = entry.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or (":" in host and not bracketed):
        return entry, None
    number = int(port)
    if not 0 < number <= _PORT_MAX:
        raise ValueError(f"{entry!r} has no port that exists")
    return host, number


def _is_name(host: str) -> bool:
    labels = host.rstrip(".").split(".")
    return (
        len(host) <= _NAME_CHARACTERS_MAX
        and all(
            label
            and label.isascii()
            and label[0] != "-"
            and all(one.isalnum() or one in "-_" for one in label)
            for label in labels
        )
        and not labels[-1].isdecimal()
    )


def _literal(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes is that IPv4 address."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


_NAT64: Final = ip_network("64:ff9b::/96")


def _is_inner(address: Address) -> bool:
    """Whether an address means this machine, its link, everybody, or a cloud's own services."""
    for one in (address, _plain(address)):
        if (
            one.is_loopback
            or one.is_link_local
            or one.is_unspecified
            or one.is_multicast
            or one.is_reserved
            or any(one in network for network in _METADATA if network.version == one.version)
        ):
            return True
    return False
