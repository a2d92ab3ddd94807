"""`public.auth.v1.AuthService`: sessions, open to everybody [services 5, 13].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from connectrpc.request import RequestContext

from appliance.api.access_cookie import AccessCookie, AnswerHeaders
from appliance.api.call import current_call
from appliance.api.rpc.public.oidc import ProviderSignIn
from appliance.base.errors import UnauthenticatedError
from appliance.config.secrets import Secret
from appliance.gen.public.auth.v1.auth_pb import (
    CompleteMagicLinkRequest,
    CompleteMagicLinkResponse,
    DemoSignInRequest,
    DemoSignInResponse,
    RefreshSessionRequest,
    RefreshSessionResponse,
    RequestMagicLinkRequest,
    RequestMagicLinkResponse,
    SignInWithEmailRequest,
    SignInWithEmailResponse,
    SignOutRequest,
    SignOutResponse,
)
from appliance.services.control import ControlPlane

# ruff: noqa: ARG002 the shape of the library


class Auth(ProviderSignIn):
    """Signing in and out."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._oidc = control.oidc
        self._cookie = AccessCookie(secure=control.oidc.base_url.startswith("https://"))

    async def sign_in_with_email(
        self,
        request: SignInWithEmailRequest,
        ctx: RequestContext[SignInWithEmailRequest, SignInWithEmailResponse],
        /,
    ) -> SignInWithEmailResponse:
        session = await self._control.accounts.sign_in(
            request.email, Secret(request.password), current_call.get().address
        )
        self._keep(ctx.response_headers, session)
        return SignInWithEmailResponse(
            token=session.access.reveal(), refresh_token=session.refresh.reveal()
        )

    async def request_magic_link(
        self,
        request: RequestMagicLinkRequest,
        ctx: RequestContext[RequestMagicLinkRequest, RequestMagicLinkResponse],
        /,
    ) -> RequestMagicLinkResponse:
        await self._control.magic_links.request(request.email, current_call.get().address)
        return RequestMagicLinkResponse()

    async def complete_magic_link(
        self,
        request: CompleteMagicLinkRequest,
        ctx: RequestContext[CompleteMagicLinkRequest, CompleteMagicLinkResponse],
        /,
    ) -> CompleteMagicLinkResponse:
        session = await self._control.magic_links.complete(
            request.token, timezone=request.timezone, address=current_call.get().address
        )
        self._keep(ctx.response_headers, session)
        return CompleteMagicLinkResponse(
            token=session.access.reveal(), refresh_token=session.refresh.reveal()
        )

    async def refresh_session(
        self,
        request: RefreshSessionRequest,
        ctx: RequestContext[RefreshSessionRequest, RefreshSessionResponse],
        /,
    ) -> RefreshSessionResponse:
        try:
            session = await self._control.sessions.refresh(
                request.refresh_token, current_call.get().address
            )
        except UnauthenticatedError:
            self._forget(ctx.response_headers)
            raise
        self._keep(ctx.response_headers, session)
        return RefreshSessionResponse(
            token=session.access.reveal(), refresh_token=session.refresh.reveal()
        )

    async def sign_out(
        self, request: SignOutRequest, ctx: RequestContext[SignOutRequest, SignOutResponse], /
    ) -> SignOutResponse:
        await self._control.sessions.end(request.refresh_token, current_call.get().address)
        self._forget(ctx.response_headers)
        return SignOutResponse()

    async def demo_sign_in(
        self,
        request: DemoSignInRequest,
        ctx: RequestContext[DemoSignInRequest, DemoSignInResponse],
        /,
    ) -> DemoSignInResponse:
        demo = await self._control.accounts.demo_sign_in(current_call.get().address)
        self._keep(ctx.response_headers, demo.session)
        return DemoSignInResponse(
            token=demo.session.access.reveal(),
            refresh_token=demo.session.refresh.reveal(),
            project_id=demo.project_id,
        )

    def _forget(self, answer: AnswerHeaders) -> None:
        """Let a browser forget the access token of a session that has ended."""
        self._cookie.take_back(current_call.get().headers, answer)
