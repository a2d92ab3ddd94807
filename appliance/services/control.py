"""The control plane: every use-case about accounts, organisations, projects, keys and mail.

Invariant: made once for each process, on shared connections; making it touches no network.
"""

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.config.model import Settings
from appliance.config.secrets import Secret
from appliance.services.access import AccessService
from appliance.services.accounts import AccountsService
from appliance.services.api_keys import ApiKeysService
from appliance.services.audit import AuditLog
from appliance.services.erasure import ErasureService
from appliance.services.invitations import InvitationsService
from appliance.services.links import DashboardLinks, dashboard_base_url
from appliance.services.magic_links import MagicLinksService
from appliance.services.mail.desk import MailDesk
from appliance.services.member_projects import MemberProjects
from appliance.services.members import MembersService
from appliance.services.oidc.linking import Linking
from appliance.services.oidc.service import OidcService
from appliance.services.organisations import OrganisationsService
from appliance.services.passwords import Passwords
from appliance.services.projects import ProjectsService
from appliance.services.provisioning import Provisioning
from appliance.services.sessions import SessionsService
from appliance.services.sign_in_guard import SignInGuard
from appliance.services.stores import Stores
from appliance.services.tokens import AccessTokens
from appliance.services.usage import UsageService


class ControlPlane:
    """The services of the public and dashboard boundaries [services 5, 6, 13]."""

    def __init__(
        self, stores: Stores, settings: Settings, signing_key: Secret, *, clock: Clock, ids: IdMaker
    ) -> None:
        self.tokens = AccessTokens(signing_key, clock=clock, ids=ids)
        self.access = AccessService(stores.postgres, self.tokens)
        self.audit = AuditLog(clock, ids)
        self.links = DashboardLinks(dashboard_base_url(settings))
        self.mail = MailDesk(stores, settings.email, self.links, self.audit, clock=clock, ids=ids)
        self.organisations = OrganisationsService(
            stores.postgres, clock=clock, ids=ids, audit=self.audit
        )
        self.members = MembersService(stores.postgres, audit=self.audit)
        self.invitations = InvitationsService(
            stores.postgres, self.mail.queue, clock=clock, ids=ids, audit=self.audit
        )
        self.sessions = SessionsService(
            stores.postgres, self.tokens, clock=clock, ids=ids, audit=self.audit
        )
        self.provisioning = Provisioning(
            self.organisations,
            clock=clock,
            ids=ids,
            audit=self.audit,
            open_sign_up=settings.sessions.open_sign_up,
        )
        guard = SignInGuard(stores.postgres, clock)
        self.passwords = Passwords()
        self.accounts = AccountsService(
            stores.postgres,
            sessions=self.sessions,
            guard=guard,
            passwords=self.passwords,
            clock=clock,
            ids=ids,
            audit=self.audit,
            demo_email=settings.demo.viewer_email if settings.demo.enabled else None,
        )
        self.magic_links = MagicLinksService(
            stores.postgres,
            mail=self.mail.queue,
            guard=guard,
            sessions=self.sessions,
            invitations=self.invitations,
            provisioning=self.provisioning,
            clock=clock,
            ids=ids,
        )
        self.oidc = OidcService(
            stores.postgres,
            settings.oidc,
            google_client_id=settings.sessions.google_client_id,
            links=self.links,
            linking=Linking(self.provisioning, clock=clock, ids=ids, audit=self.audit),
            sessions=self.sessions,
            clock=clock,
            ids=ids,
        )
        self.member_projects = MemberProjects(stores.postgres)
        self.projects = ProjectsService(stores, self.audit, clock=clock, ids=ids)
        self.api_keys = ApiKeysService(stores, self.audit, clock=clock, ids=ids)
        self.usage = UsageService(stores, clock=clock)
        self.erasure = ErasureService(stores, self.audit, clock=clock, ids=ids)

    async def close(self) -> None:
        """Finish what is under way, while the stores are still there."""
        await self.magic_links.close()
