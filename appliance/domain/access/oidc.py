"""What an ID token says, and whether that lets somebody in [services 3.8, 13].

Invariant: pure: the signature was checked before. Only an address that the provider calls verified
counts, and whatever is not exactly as it must be refuses the token; the reasons are closed, so
that the log can name one while the caller learns no more than needed.
"""

import hmac
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, cast

from msgspec import Struct

from appliance.domain.access.roles import Role

SUBJECT_CHARACTERS_MAX: Final = 255
EMAIL_CHARACTERS_MAX: Final = 255
ROLE_VALUES_MAX: Final = 1000
_RANK: Final = {Role.VIEWER: 0, Role.MEMBER: 1, Role.ADMIN: 2}


class Rejection(StrEnum):
    """Why an ID token is refused, as the log names it."""

    ISSUER = "issuer"
    AUDIENCE = "audience"
    AUTHORIZED_PARTY = "authorized_party"
    EXPIRED = "expired"
    NOT_YET = "not_yet"
    NONCE = "nonce"
    SUBJECT = "subject"


class Barrier(StrEnum):
    """Why somebody the provider knows may not come in."""

    EMAIL_MISSING = "email_missing"
    EMAIL_UNVERIFIED = "email_unverified"
    DOMAIN = "domain"
    NO_ROLE = "no_role"


class Expectation(Struct, frozen=True, kw_only=True):
    """What an ID token must say; `nonce` None where the caller had none to give.

    `now` and `leeway` are seconds.
    """

    issuer: str
    client_id: str
    nonce: str | None
    now: float
    leeway: float


class Grant(Struct, frozen=True, kw_only=True):
    """A role in an organisation; `org_id` None means the oldest one."""

    role: Role
    org_id: str | None = None


class AdmissionRules(Struct, frozen=True, kw_only=True):
    """Whom a provider lets in; domains in lower case, empty for any."""

    domains: frozenset[str] = frozenset()
    role_claim: str = ""
    role_mapping: Mapping[str, Grant] = {}


class Admission(Struct, frozen=True, kw_only=True):
    """Somebody who may come in; `grants` is empty where the provider decides no roles."""

    subject: str
    email: str
    display_name: str
    picture_uri: str
    grants: tuple[Grant, ...]


def find_rejection(claims: Mapping[str, object], expected: Expectation) -> Rejection | None:
    """Why a token with a good signature does not count; None when it does."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARACTERS_MAX:
        return Rejection.SUBJECT
    if claims.get("iss") != expected.issuer:
        return Rejection.ISSUER
    return _audience(claims, expected) or _period(claims, expected) or _nonce(claims, expected)


def admit(claims: Mapping[str, object], rules: AdmissionRules) -> Admission | Barrier:
    """Who comes in with these claims, or what keeps them out."""
    email = claims.get("email")
    if not isinstance(email, str) or not _is_address(email.strip()):
        return Barrier.EMAIL_MISSING
    address = email.strip()
    if not _is_true(claims.get("email_verified")):
        return Barrier.EMAIL_UNVERIFIED
    if rules.domains and address.rpartition("@")[2].lower() not in rules.domains:
        return Barrier.DOMAIN
    grants = tuple(_grants(claims, rules))
    if rules.role_claim and not grants:
        return Barrier.NO_ROLE
    return Admission(
        subject=str(claims["sub"]),
        email=address,
        display_name=_text(claims, "name", "preferred_username"),
        picture_uri=_web_address(_text(claims, "picture")),
        grants=grants,
    )


def parse_grant(text: str) -> Grant:
    """`admin`, or `admin@ORGANISATION_ID`; raises ValueError for another role."""
    role, _, org_id = text.partition("@")
    return Grant(role=Role(role), org_id=org_id or None)


def claim_at(claims: Mapping[str, object], path: str) -> object:
    """A claim by name, or by a path of names with dots, like Keycloak's `realm_access.roles`.

    A claim whose own name has dots comes first.
    """
    if path in claims:
        return claims[path]
    head, _, rest = path.partition(".")
    found = claims.get(head)
    if not rest:
        return found
    return claim_at(cast("dict[str, object]", found), rest) if isinstance(found, dict) else None


def _audience(claims: Mapping[str, object], expected: Expectation) -> Rejection | None:
    found = claims.get("aud")
    audiences = cast("list[object]", found) if isinstance(found, list) else [found]
    if expected.client_id not in audiences:
        return Rejection.AUDIENCE
    party = claims.get("azp")
    if (len(audiences) > 1 or party is not None) and party != expected.client_id:
        return Rejection.AUTHORIZED_PARTY
    return None


def _period(claims: Mapping[str, object], expected: Expectation) -> Rejection | None:
    expires, issued = _instant(claims, "exp"), _instant(claims, "iat")
    if expires is None or expires + expected.leeway <= expected.now:
        return Rejection.EXPIRED
    starts = _instant(claims, "nbf") if "nbf" in claims else issued
    if issued is None or starts is None:
        return Rejection.NOT_YET
    return Rejection.NOT_YET if max(issued, starts) - expected.leeway > expected.now else None


def _nonce(claims: Mapping[str, object], expected: Expectation) -> Rejection | None:
    if expected.nonce is None:
        return None
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(
        found.encode(), expected.nonce.encode()
    ):
        return Rejection.NONCE
    return None


def _grants(claims: Mapping[str, object], rules: AdmissionRules) -> Iterator[Grant]:
    """The highest role for each organisation that a mapped value names."""
    if not rules.role_claim:
        return
    found = claim_at(claims, rules.role_claim)
    values = cast("list[object]", found) if isinstance(found, list) else [found]
    best: dict[str | None, Grant] = {}
    for value in values[:ROLE_VALUES_MAX]:
        grant = rules.role_mapping.get(value) if isinstance(value, str) else None
        if grant is None:
            continue
        known = best.get(grant.org_id)
        if known is None or _RANK[grant.role] > _RANK[known.role]:
            best[grant.org_id] = grant
    yield from best.values()


def _instant(claims: Mapping[str, object], name: str) -> float | None:
    found = claims.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _is_true(found: object) -> bool:
    """ADFS and some others can issue texts only."""
    return found is True or (isinstance(found, str) and found.lower() == "true")


def _is_address(text: str) -> bool:
    name, at, domain = text.rpartition("@")
    return (
        bool(name and at and domain)
        and "@" not in name
        and len(text) <= EMAIL_CHARACTERS_MAX
        and text.isprintable()
        and " " not in text
    )


def _text(claims: Mapping[str, object], *names: str) -> str:
    found = (claims.get(name) for name in names)
    return next((one.strip() for one in found if isinstance(one, str) and one.strip()), "")


def _web_address(text: str) -> str:
    """A picture's address; what is not HTTPS or too long to store is none."""
    return text if text.startswith("https://") and len(text) <= EMAIL_CHARACTERS_MAX else ""
