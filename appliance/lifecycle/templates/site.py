"""What templates are filled with: where the appliance answers, and under which name.

Invariant: every value that ends up in somebody else's configuration file is checked here, so no
template has to quote.
"""

import re
from typing import Final

import msgspec

from appliance.base.errors import InvalidInputError
from appliance.config.model import Settings
from appliance.config.tls import find_tls
from appliance.version import RELEASE

_DOMAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.:-]{1,255}")
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not bound
DEFAULT_DOMAIN: Final = "pug.example.internal"
DEFAULT_CERTIFICATE: Final = "/etc/ssl/pug/fullchain.pem"
DEFAULT_KEY: Final = "/etc/ssl/pug/key.pem"

CDN_HEADERS: Final = (
    "CF-Connecting-IP",
    "True-Client-IP",
    "CF-IPContinent",
    "CF-IPCountry",
    "CF-Region",
    "CF-IPCity",
    "CF-Postal-Code",
    "CF-Metro-Code",
    "CF-IPLatitude",
    "CF-IPLongitude",
    "CF-Timezone",
    "CF-Bot-Score",
    "CF-Verified-Bot",
)
"""Headers of a content network [ingestion 4, 5, 7]; a proxy without one before it removes them."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One installation as a neighbour sees it."""

    domain: str
    host: str
    port: int
    tls: bool
    body_bytes_max: int
    grpc_port: int | None
    certificate: str = DEFAULT_CERTIFICATE
    key: str = DEFAULT_KEY
    syslog: str = ""
    cdn_headers: bool = False
    release: str = RELEASE

    @property
    def removed_headers(self) -> tuple[str, ...]:
        """What a proxy takes from requests; the appliance does not believe it either."""
        return () if self.cdn_headers else CDN_HEADERS

    @property
    def scheme(self) -> str:
        """How the public port is spoken to."""
        return "https" if self.tls else "http"

    @property
    def address(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def make_site(settings: Settings, *, domain: str, port: int) -> Site:
    """The facts of an installation; `port` is the public one in use.

    Raises InvalidInputError for a domain that is no host name.
    """
    host = _ANY_ADDRESS.get(settings.api.host, settings.api.host)
    if not _DOMAIN.fullmatch(domain) or not _ADDRESS.fullmatch(host):
        raise InvalidInputError(
            "NAME_UNUSABLE",
            f"{domain!r} is no host name",
            hint="give the name people will type, like pug.example.org",
        )
    return Site(
        domain=domain,
        host=host,
        port=port,
        tls=find_tls(settings) is not None,
        body_bytes_max=int(settings.api.body_bytes_max),
        grpc_port=settings.api.grpc_port,
        syslog=settings.logs.syslog,
        cdn_headers=settings.network.cdn_headers,
    )
