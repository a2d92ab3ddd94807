"""The methods of `public.auth.v1.AuthService` about providers [services 3.8, 5, 13].

Invariant: as in `auth.py`, of whose handler this is a part.
"""

from connectrpc.request import RequestContext

from appliance.api.access_cookie import AccessCookie, AnswerHeaders
from appliance.api.call import current_call
from appliance.gen.public.auth.v1.auth_connect import AuthService
from appliance.gen.public.auth.v1.auth_pb import (
    AuthProviderConfig,
    AuthProviderType,
    CompleteOAuthSignInRequest,
    CompleteOAuthSignInResponse,
    CompleteOIDCSignInRequest,
    CompleteOIDCSignInResponse,
    GetAuthConfigRequest,
    GetAuthConfigResponse,
    OAuthProvider,
)
from appliance.services.oidc.provider import Passage
from appliance.services.oidc.service import OidcService, provider_disabled
from appliance.services.sessions import Session

# ruff: noqa: ARG002 the shape of the library


class ProviderSignIn(AuthService):
    """Signing in by somebody else's word."""

    _oidc: OidcService
    _cookie: AccessCookie

    def _keep(self, answer: AnswerHeaders, session: Session) -> None:
        """Let a browser on a page of ours keep the session's access token."""
        self._cookie.give(current_call.get().headers, answer, session.access)

    async def get_auth_config(
        self,
        request: GetAuthConfigRequest,
        ctx: RequestContext[GetAuthConfigRequest, GetAuthConfigResponse],
        /,
    ) -> GetAuthConfigResponse:
        return GetAuthConfigResponse(
            providers=[
                AuthProviderConfig(
                    id=one.slug,
                    type=AuthProviderType.OIDC,
                    display_name=one.name,
                    client_id=one.client_id,
                    issuer_url=one.issuer_url,
                    scopes=list(one.scopes),
                )
                for one in self._oidc.offered()
            ]
        )

    async def complete_oidc_sign_in(
        self,
        request: CompleteOIDCSignInRequest,
        ctx: RequestContext[CompleteOIDCSignInRequest, CompleteOIDCSignInResponse],
        /,
    ) -> CompleteOIDCSignInResponse:
        session = await self._oidc.complete(
            request.provider_id,
            request.code,
            Passage(
                redirect_uri=request.redirect_uri,
                nonce=request.nonce,
                verifier=request.code_verifier,
            ),
            timezone=request.timezone,
            address=current_call.get().address,
        )
        self._keep(ctx.response_headers, session)
        return CompleteOIDCSignInResponse(
            token=session.access.reveal(), refresh_token=session.refresh.reveal()
        )

    async def complete_o_auth_sign_in(
        self,
        request: CompleteOAuthSignInRequest,
        ctx: RequestContext[CompleteOAuthSignInRequest, CompleteOAuthSignInResponse],
        /,
    ) -> CompleteOAuthSignInResponse:
        if request.provider != OAuthProvider.GOOGLE:
            raise provider_disabled()
        session = await self._oidc.complete_google(
            request.credential,
            timezone=request.timezone,
            address=current_call.get().address,
        )
        self._keep(ctx.response_headers, session)
        return CompleteOAuthSignInResponse(
            token=session.access.reveal(), refresh_token=session.refresh.reveal()
        )
