"""Settings about single sign-on: OpenID Connect providers [services 13].

Invariant: as in `model.py`, of whose tree this is a branch. A provider is one Struct of a list: a
JSON list in the environment, `[[oidc.providers]]` tables in TOML. What a provider must fulfil
beyond its types is told by `oidc_slips`, all of it at once.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from msgspec import Meta, field

from appliance.base.units import Seconds
from appliance.config.secrets import Secret
from appliance.config.section import Section, env_names

PROVIDERS_MAX: Final = 20
LEEWAY_SECONDS_MAX: Final = 300.0
GOOGLE_SLUG: Final = "google"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_GRANT: Final = re.compile(r"(?:admin|member|viewer)(?:@[0-9a-v]{20})?")
_Text = Annotated[str, Meta(min_length=1, max_length=255)]


class OidcProviderSettings(Section, frozen=True, kw_only=True):
    """One provider; `slug` is its id on the wire and in paths, `name` what people read.

    `role_mapping` gives the values of `role_claim` a role: `admin`, or `admin@ORGANISATION_ID`.
    """

    name: _Text
    slug: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    issuer_url: _Text
    client_id: _Text
    client_secret: Secret | None = None
    scopes: Annotated[tuple[_Text, ...], Meta(max_length=20)] = ("openid", "email", "profile")
    allowed_domains: Annotated[tuple[_Text, ...], Meta(max_length=100)] = ()
    role_claim: Annotated[str, Meta(max_length=255)] = ""
    role_mapping: Annotated[dict[_Text, str], Meta(max_length=200)] = field(
        default_factory=dict[str, str]
    )


class OidcSettings(Section, frozen=True, kw_only=True):
    """Single sign-on by OpenID Connect; see docs/single-sign-on.md."""

    providers: Annotated[
        tuple[OidcProviderSettings, ...],
        Meta(
            max_length=PROVIDERS_MAX,
            description="sign-in providers, each with name, slug, issuer_url, client_id and, as "
            "needed, client_secret, scopes, allowed_domains, role_claim, role_mapping",
            extra=env_names("OIDC_PROVIDERS"),
        ),
    ] = ()
    base_url: Annotated[
        str,
        Meta(
            description="where browsers reach this API, start of the providers' redirect "
            "addresses; empty: as `email.dashboard_base_url`",
            extra=env_names("OIDC_BASE_URL"),
        ),
    ] = ""
    frontend_url: Annotated[
        str,
        Meta(
            description="where the dashboard is that takes over after sign-in; empty: as "
            "`email.dashboard_base_url`",
            extra=env_names("OIDC_FRONTEND_URL"),
        ),
    ] = ""
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file of the authorities that providers are checked against; unset: "
            "those of the machine"
        ),
    ] = None
    clock_leeway: Annotated[
        Seconds,
        Meta(description="how far a provider's clock may be off, at most 5m"),
    ] = Seconds(60)


def oidc_slips(oidc: OidcSettings) -> Iterator[tuple[str, str, str]]:
    """What cannot work: key, found, expected; secrets are never in it."""
    for key, text in (("base_url", oidc.base_url), ("frontend_url", oidc.frontend_url)):
        if text and not _is_base(text):
            yield f"oidc.{key}", repr(text), "an address like https://pug.example.com"
    if not 0 <= oidc.clock_leeway <= LEEWAY_SECONDS_MAX:
        yield "oidc.clock_leeway", str(oidc.clock_leeway), "a duration from 0s to 5m"
    seen: set[str] = set()
    for place, provider in enumerate(oidc.providers):
        where = f"provider {place + 1} ({provider.slug})"
        if provider.slug in seen:
            yield "oidc.providers", where, "a slug that no other provider has"
        seen.add(provider.slug)
        for found, expected in _provider_slips(provider):
            yield "oidc.providers", f"{where}: {found}", expected


def is_issuer(url: str) -> bool:
    """Whether we would speak to this issuer: HTTPS, or plain HTTP on this very machine."""
    parts = _split(url)
    if parts is None or parts.query or parts.fragment or parts.username is not None:
        return False
    return is_checked(url)


def is_checked(url: str) -> bool:
    """Whether nobody between us and this address can pretend to be it."""
    parts = _split(url)
    if parts is None or not parts.hostname or not (url.isascii() and url.isprintable()):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _provider_slips(provider: OidcProviderSettings) -> Iterator[tuple[str, str]]:
    if not is_issuer(provider.issuer_url):
        yield f"issuer_url {provider.issuer_url!r}", "an https:// address without a query"
    if "openid" not in provider.scopes:
        yield "scopes without openid", "openid among the scopes"
    for scope in provider.scopes:
        if not re.fullmatch(r"[!#-\[\]-~]+", scope):
            yield f"scope {scope!r}", "a scope without spaces"
    for domain in provider.allowed_domains:
        if not _DOMAIN.fullmatch(domain.lower()):
            yield f"allowed domain {domain!r}", "a domain like example.com"
    if bool(provider.role_claim) != bool(provider.role_mapping):
        yield "one of role_claim and role_mapping", "both or neither"
    for value, grant in provider.role_mapping.items():
        if not _GRANT.fullmatch(grant):
            yield (
                f"role {grant!r} for {value!r}",
                "admin, member or viewer, alone or followed by @ and an organisation's id",
            )


def _is_base(url: str) -> bool:
    parts = _split(url)
    return (
        parts is not None
        and parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and not (parts.query or parts.fragment)
    )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
