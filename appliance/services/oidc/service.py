"""Single sign-on: browsers on their way to a provider and back, and credentials brought by RPC.

Invariant: a flow is begun here, bound to one browser, kept in PostgreSQL and used once; what comes
back is trusted only as far as `provider.py` checked it. Nothing is asked of a provider before
somebody signs in, and no transaction is open while one is asked. The way of a session to the
dashboard: decision 0017.
"""

import hmac
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ApplianceError,
    ExhaustedError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)
from appliance.base.ids import IdMaker, random_token
from appliance.config.oidc import OidcProviderSettings, OidcSettings
from appliance.config.secrets import Secret
from appliance.domain.access.oidc import (
    Admission,
    AdmissionRules,
    Barrier,
    admit,
    parse_grant,
)
from appliance.services.links import DashboardLinks
from appliance.services.oidc.linking import Arrival, Linking
from appliance.services.oidc.provider import (
    ClientCredentials,
    OpenIdProvider,
    Passage,
    credential_invalid,
)
from appliance.services.oidc.wire import ProviderWire
from appliance.services.sessions import Session, SessionsService, hash_token
from appliance.storage.postgres.email_tokens import replace_magic_link
from appliance.storage.postgres.identities import (
    FlowRow,
    IdentifiedCustomer,
    add_flow,
    take_flow,
)
from appliance.storage.postgres.pool import Postgres, Transaction

GOOGLE_ISSUER: Final = "https://accounts.google.com"
GOOGLE: Final = "google"
"""The provider of Google's identities in the database [services 3.8]."""
FLOW_LIFETIME: Final = timedelta(minutes=10)
FLOWS_MAX: Final = 20_000
"""Sign-ins on their way at once; each is a row of a few hundred bytes."""
HANDOVER_LIFETIME: Final = timedelta(seconds=60)
ASKING_MAX: Final = 32
"""Sign-ins that wait for a provider at once; more are told to come again."""
SECRET_BYTES: Final = 32
_STATE_CHARACTERS: Final = 2 * SECRET_BYTES
_CODE_CHARACTERS_MAX: Final = 8192

_LOG: Final = structlog.stdlib.get_logger()

_SENTENCES: Final[Mapping[Barrier, str]] = {
    Barrier.EMAIL_MISSING: "the provider names no e-mail address for this account",
    Barrier.EMAIL_UNVERIFIED: "the provider has not verified the e-mail address of this account",
    Barrier.DOMAIN: "addresses of this domain may not sign in here",
    Barrier.NO_ROLE: "this account has no role here; ask your administrator",
}
_EMAIL_BARRIERS: Final = frozenset({Barrier.EMAIL_MISSING, Barrier.EMAIL_UNVERIFIED})


class OfferedProvider(Struct, frozen=True, kw_only=True):
    """A provider as sign-in pages may show it."""

    slug: str
    name: str
    client_id: str
    issuer_url: str
    scopes: tuple[str, ...]


class Departure(Struct, frozen=True, kw_only=True):
    """A browser about to leave for a provider; `browser` is what it must bring back."""

    url: str
    state_hash: str
    browser: Secret


class _Known(Struct, frozen=True, kw_only=True):
    settings: OidcProviderSettings
    provider: OpenIdProvider
    rules: AdmissionRules

    @property
    def how(self) -> str:
        return f"oidc:{self.settings.slug}"


class OidcService:
    """Use-cases of single sign-on."""

    def __init__(
        self,
        database: Postgres,
        settings: OidcSettings,
        *,
        google_client_id: str,
        links: DashboardLinks,
        linking: Linking,
        sessions: SessionsService,
        clock: Clock,
        ids: IdMaker,
        google_issuer: str = GOOGLE_ISSUER,
    ) -> None:
        wire = ProviderWire(settings.ca_file)

        def provider(issuer_url: str, credentials: ClientCredentials) -> OpenIdProvider:
            return OpenIdProvider(
                issuer_url, credentials, wire, clock, leeway_seconds=settings.clock_leeway
            )

        self._database = database
        self._known = {
            one.slug: _Known(
                settings=one,
                provider=provider(
                    one.issuer_url,
                    ClientCredentials(client_id=one.client_id, secret=one.client_secret),
                ),
                rules=_rules(one),
            )
            for one in settings.providers
        }
        self._google = (
            provider(google_issuer, ClientCredentials(client_id=google_client_id, secret=None))
            if google_client_id
            else None
        )
        self._google_issuer = google_issuer
        self._base_url = (settings.base_url or links.base_url).rstrip("/")
        self._frontend = DashboardLinks(settings.frontend_url or links.base_url)
        self._linking = linking
        self._sessions = sessions
        self._clock = clock
        self._ids = ids
        self._asking = 0

    @property
    def base_url(self) -> str:
        """Where browsers reach this API, without a slash at the end."""
        return self._base_url

    @property
    def frontend_url(self) -> str:
        """Where the dashboard is, without a slash at the end."""
        return self._frontend.base_url

    def offered(self) -> tuple[OfferedProvider, ...]:
        """The providers of the settings, in their order."""
        return tuple(
            OfferedProvider(
                slug=one.settings.slug,
                name=one.settings.name,
                client_id=one.settings.client_id,
                issuer_url=one.settings.issuer_url,
                scopes=one.settings.scopes,
            )
            for one in self._known.values()
        )

    async def begin(self, slug: str, *, timezone: str) -> Departure:
        """Send a browser to a provider.

        Raises InvalidInputError (`OAUTH_PROVIDER_DISABLED`), UnavailableError, ExhaustedError.
        """
        known = self._find(slug)
        state, browser = random_token(SECRET_BYTES), random_token(SECRET_BYTES)
        passage = Passage(
            redirect_uri=self._redirect_uri(slug),
            nonce=random_token(SECRET_BYTES),
            verifier=random_token(SECRET_BYTES),
        )
        async with self._asked():
            url = await known.provider.authorization_url(
                passage, state=state, scopes=known.settings.scopes
            )
        now = self._clock.now()
        flow = FlowRow(
            state_hash=hash_token(state),
            browser_hash=hash_token(browser),
            provider=slug,
            nonce=passage.nonce,
            verifier=passage.verifier,
            timezone=timezone,
            expires_at=now + FLOW_LIFETIME,
        )
        async with self._database.transaction() as transaction:
            kept = await add_flow(transaction, flow, now=now, flows_max=FLOWS_MAX)
        if not kept:
            raise ExhaustedError(
                "RESOURCE_EXHAUSTED", "too many sign-ins are on their way; try again later"
            )
        return Departure(url=url, state_hash=flow.state_hash, browser=Secret(browser))

    async def finish(
        self, slug: str, *, answer: Mapping[str, str], browser: str, address: str
    ) -> str:
        """What a browser brought back from a provider; where it goes on to, signed in.

        `answer` is the query of the redirect, `browser` what `begin` gave it. Raises
        InvalidInputError (`INVALID_TOKEN` for an unknown, used or foreign state), and what
        `complete` raises.
        """
        known = self._find(slug)
        flow = await self._take(slug, answer.get("state", ""), browser)
        passage = Passage(
            redirect_uri=self._redirect_uri(slug), nonce=flow.nonce, verifier=flow.verifier
        )
        async with self._asked():
            await known.provider.answered(answer.get("iss"))
            claims = await self._redeemed(known, answer, passage)
        admission = _admitted(claims, known.rules)
        async with self._database.transaction() as transaction:
            customer = await self._welcome(
                transaction, known, admission, address=address, timezone=flow.timezone
            )
            return await self._handover(transaction, customer)

    async def complete(
        self, slug: str, code: str, passage: Passage, *, timezone: str, address: str
    ) -> Session:
        """An authorization code that a dashboard got, for a session [services 13].

        Raises InvalidInputError (`OAUTH_PROVIDER_DISABLED`, or `INVALID_ARGUMENT` without a
        verified address), UnauthenticatedError (`OAUTH_CREDENTIAL_INVALID`), UnavailableError.
        """
        known = self._find(slug)
        async with self._asked():
            claims = await known.provider.redeem(code, passage)
        admission = _admitted(claims, known.rules)
        async with self._database.transaction() as transaction:
            customer = await self._welcome(
                transaction, known, admission, address=address, timezone=timezone
            )
            return await self._open(transaction, customer, address=address, how=known.how)

    async def complete_google(self, credential: str, *, timezone: str, address: str) -> Session:
        """A Google ID token for a session [services 3.8]; raises as `complete`."""
        if self._google is None:
            raise provider_disabled()
        async with self._asked():
            claims = await self._google.check(credential, nonce=None)
        arrival = Arrival(
            provider=GOOGLE,
            how=GOOGLE,
            admission=_admitted(claims, AdmissionRules()),
            address=address,
            timezone=timezone,
        )
        async with self._database.transaction() as transaction:
            customer = await self._linking.welcome(transaction, arrival)
            if customer is None:
                raise not_welcome()
            return await self._open(transaction, customer, address=address, how=GOOGLE)

    def _find(self, slug: str) -> _Known:
        known = self._known.get(slug)
        if known is None:
            raise provider_disabled()
        return known

    def _redirect_uri(self, slug: str) -> str:
        return f"{self._base_url}/auth/oidc/{slug}/callback"

    async def _take(self, slug: str, state: str, browser: str) -> FlowRow:
        flow = None
        if len(state) == _STATE_CHARACTERS:
            async with self._database.transaction() as transaction:
                flow = await take_flow(transaction, hash_token(state))
        if (
            flow is None
            or flow.provider != slug
            or flow.expires_at <= self._clock.now()
            or not hmac.compare_digest(flow.browser_hash, hash_token(browser))
        ):
            raise InvalidInputError(
                "INVALID_TOKEN", "this sign-in is over or was begun elsewhere; begin it again"
            )
        return flow

    async def _redeemed(
        self, known: _Known, answer: Mapping[str, str], passage: Passage
    ) -> Mapping[str, object]:
        if "error" in answer:
            _LOG.info("sign_in_refused", provider=known.settings.slug, cause="provider")
            raise credential_invalid()
        code = answer.get("code", "")
        if not 0 < len(code) <= _CODE_CHARACTERS_MAX:
            raise credential_invalid()
        return await known.provider.redeem(code, passage)

    async def _welcome(
        self,
        transaction: Transaction,
        known: _Known,
        admission: Admission,
        *,
        address: str,
        timezone: str,
    ) -> IdentifiedCustomer:
        arrival = Arrival(
            provider=self._identity_provider(known.settings.issuer_url),
            how=known.how,
            admission=admission,
            address=address,
            timezone=timezone,
        )
        customer = await self._linking.welcome(transaction, arrival)
        if customer is None:
            raise not_welcome()
        return customer

    def _identity_provider(self, issuer_url: str) -> str:
        """The issuer in the table of identities: a slug may be given to another issuer later."""
        issuer = issuer_url.rstrip("/")
        if issuer == self._google_issuer:
            return GOOGLE
        return f"oidc:{sha256(issuer.encode()).hexdigest()[:40]}"

    async def _open(
        self, transaction: Transaction, customer: IdentifiedCustomer, *, address: str, how: str
    ) -> Session:
        return await self._sessions.open(
            transaction,
            customer_id=customer.id,
            email=customer.email,
            address=address,
            how=how,
        )

    async def _handover(self, transaction: Transaction, customer: IdentifiedCustomer) -> str:
        """A link that the dashboard redeems like a mailed one, for a minute and once."""
        token = random_token(SECRET_BYTES)
        now = self._clock.now()
        await replace_magic_link(
            transaction,
            link_id=self._ids.make(),
            email=customer.email,
            token_hash=hash_token(token),
            expires_at=now + HANDOVER_LIFETIME,
            at=now,
        )
        return self._frontend.magic_link(token)

    @asynccontextmanager
    async def _asked(self) -> AsyncGenerator[None]:
        """Room for one more who waits for a provider; the log learns who does not answer."""
        if self._asking >= ASKING_MAX:
            raise UnavailableError(
                "UNAVAILABLE", "too many sign-ins at this moment; try again in a few seconds"
            )
        self._asking += 1
        try:
            yield
        except UnavailableError as error:
            _LOG.warning("sign_in_provider_unavailable", **error.fields)
            raise
        finally:
            self._asking -= 1


def provider_disabled() -> InvalidInputError:
    """A provider that nobody has set up."""
    return InvalidInputError("OAUTH_PROVIDER_DISABLED", "this way to sign in is not set up here")


def not_welcome() -> UnauthenticatedError:
    """Somebody the provider knows and we do not let in."""
    return UnauthenticatedError(
        "OAUTH_CREDENTIAL_INVALID", "this account may not sign in here; ask your administrator"
    )


def _admitted(claims: Mapping[str, object], rules: AdmissionRules) -> Admission:
    match admit(claims, rules):
        case Admission() as admission:
            return admission
        case Barrier() as barrier:
            _LOG.info("sign_in_barred", cause=barrier.value)
            raise _barred(barrier)


def _barred(barrier: Barrier) -> ApplianceError:
    sentence = _SENTENCES[barrier]
    if barrier in _EMAIL_BARRIERS:
        return InvalidInputError("INVALID_ARGUMENT", sentence)
    return UnauthenticatedError("OAUTH_CREDENTIAL_INVALID", sentence)


def _rules(provider: OidcProviderSettings) -> AdmissionRules:
    return AdmissionRules(
        domains=frozenset(domain.lower() for domain in provider.allowed_domains),
        role_claim=provider.role_claim,
        role_mapping={value: parse_grant(grant) for value, grant in provider.role_mapping.items()},
    )
