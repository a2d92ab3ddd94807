"""One OpenID provider: the way there, a code for an ID token, an ID token for claims.

Invariant: claims leave this module only after signature, issuer, audience, times and nonce were
checked; why a token was refused goes to the log, the caller learns that it was.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import quote, quote_plus, urlencode, urlsplit

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import UnauthenticatedError
from appliance.config.secrets import Secret
from appliance.domain.access.oidc import Expectation, find_rejection
from appliance.services.oidc.directory import Metadata, ProviderDirectory
from appliance.services.oidc.signatures import parse_header
from appliance.services.oidc.wire import ProviderAnswer, ProviderWire, unreachable

_OK: Final = 200
_CODE_REFUSED: Final = frozenset({"invalid_grant", "invalid_request", "access_denied"})
_CLAIMS_OF_USERINFO: Final = "email"

_LOG: Final = structlog.stdlib.get_logger()


class ClientCredentials(Struct, frozen=True, kw_only=True):
    """Who we are to a provider; public clients have no secret."""

    client_id: str
    secret: Secret | None


class Passage(Struct, frozen=True, kw_only=True):
    """What ties an answer to its question; `nonce` and `verifier` stay here, hashed on the way."""

    redirect_uri: str
    nonce: str
    verifier: str


class OpenIdProvider:
    """A provider as its clients see it; making it touches no network."""

    def __init__(
        self,
        issuer_url: str,
        credentials: ClientCredentials,
        wire: ProviderWire,
        clock: Clock,
        *,
        leeway_seconds: float,
    ) -> None:
        self._directory = ProviderDirectory(issuer_url, wire, clock)
        self._issuer_url = issuer_url
        self._credentials = credentials
        self._wire = wire
        self._clock = clock
        self._leeway_seconds = leeway_seconds

    async def authorization_url(
        self, passage: Passage, *, state: str, scopes: tuple[str, ...]
    ) -> str:
        """Where a browser goes to sign in; raises UnavailableError."""
        endpoint = (await self._directory.metadata()).authorization_endpoint
        question = urlencode(
            {
                "response_type": "code",
                "client_id": self._credentials.client_id,
                "redirect_uri": passage.redirect_uri,
                "scope": " ".join(scopes),
                "state": state,
                "nonce": passage.nonce,
                "code_challenge": challenge(passage.verifier),
                "code_challenge_method": "S256",
            },
            quote_via=quote,
        )
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{question}"

    async def answered(self, issuer: str | None) -> None:
        """Refuse an answer to a browser that another provider sent (RFC 9207)."""
        metadata = await self._directory.metadata()
        if issuer != metadata.issuer and (issuer is not None or metadata.names_issuer):
            self._refuse("answer_issuer")

    async def redeem(self, code: str, passage: Passage) -> Mapping[str, object]:
        """The checked claims behind an authorization code.

        Raises UnauthenticatedError (`OAUTH_CREDENTIAL_INVALID`), UnavailableError.
        """
        metadata = await self._directory.metadata()
        answer = await self._exchange(metadata, code, passage)
        claims = await self.check(answer.text("id_token"), nonce=passage.nonce)
        if _CLAIMS_OF_USERINFO in claims or not metadata.userinfo_endpoint:
            return claims
        return await self._completed(metadata, claims, answer.text("access_token"))

    async def check(self, id_token: str, *, nonce: str | None) -> Mapping[str, object]:
        """The checked claims of an ID token; raises as `redeem`."""
        header = parse_header(id_token)
        if header is None:
            self._refuse("form_or_algorithm")
        claims = await self._directory.claims(id_token, header)
        if claims is None:
            self._refuse("signature")
        expected = Expectation(
            issuer=(await self._directory.metadata()).issuer,
            client_id=self._credentials.client_id,
            nonce=nonce,
            now=self._clock.now().timestamp(),
            leeway=self._leeway_seconds,
        )
        rejection = find_rejection(claims, expected)
        if rejection is not None:
            self._refuse(rejection.value)
        return claims

    async def _exchange(self, metadata: Metadata, code: str, passage: Passage) -> ProviderAnswer:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": passage.redirect_uri,
            "code_verifier": passage.verifier,
        }
        authorization = None
        secret = self._credentials.secret
        if secret is not None and metadata.basic_authentication:
            authorization = _basic(self._credentials.client_id, secret)
        else:
            form["client_id"] = self._credentials.client_id
            if secret is not None:
                form["client_secret"] = secret.reveal()
        answer = await self._wire.post(metadata.token_endpoint, form, authorization=authorization)
        if answer.status != _OK:
            error = answer.text("error")
            if error in _CODE_REFUSED:
                self._refuse(f"code: {error}")
            # Our own standing with the provider is broken; no repetition by the caller heals that.
            raise unreachable(metadata.token_endpoint, f"token endpoint: {error[:64]}")
        return answer

    async def _completed(
        self, metadata: Metadata, claims: Mapping[str, object], access_token: str
    ) -> Mapping[str, object]:
        """Claims with those that a provider tells at its userinfo endpoint only."""
        if not access_token:
            return claims
        answer = await self._wire.get(metadata.userinfo_endpoint, bearer=access_token)
        if answer.status != _OK:
            return claims
        if answer.body.get("sub") != claims.get("sub"):
            self._refuse("userinfo_subject")
        return {**answer.body, **claims}

    def _refuse(self, cause: str) -> NoReturn:
        _LOG.info("sign_in_refused", issuer=self._issuer_url, cause=cause)
        raise credential_invalid()


def credential_invalid() -> UnauthenticatedError:
    """The one answer to every credential that does not count."""
    return UnauthenticatedError(
        "OAUTH_CREDENTIAL_INVALID", "the sign-in did not work; begin it again"
    )


def challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _basic(client_id: str, secret: Secret) -> str:
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
