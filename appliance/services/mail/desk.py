"""Everything about mail in one place, made from the settings.

Invariant: making it touches neither network nor disk.
"""

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.config.people import EmailSettings
from appliance.domain.mail.letters import Letterhead
from appliance.services.audit import AuditLog
from appliance.services.links import DashboardLinks
from appliance.services.mail.carriers import Receipt
from appliance.services.mail.delivery import MailDelivery, send_test
from appliance.services.mail.jobs import MailQueue
from appliance.services.mail.org_providers import OrgEmailProviders
from appliance.services.mail.routes import MailRoutes
from appliance.services.stores import Stores
from appliance.storage.postgres.pool import Postgres


class MailDesk:
    """Mail of one process: jobs for the worker, organisations' providers, sending at once."""

    def __init__(
        self,
        stores: Stores,
        email: EmailSettings,
        links: DashboardLinks,
        audit: AuditLog,
        *,
        clock: Clock,
        ids: IdMaker,
    ) -> None:
        routes = MailRoutes(email, stores.postgres, clock)
        self.queue = MailQueue(stores.publisher, email)
        self.delivery = MailDelivery(
            routes, stores.postgres, links, Letterhead(logo_url=email.logo_url)
        )
        self.org_providers = OrgEmailProviders(
            stores.postgres, routes, self.delivery, audit, clock=clock, ids=ids
        )


def make_delivery(
    email: EmailSettings, database: Postgres, links: DashboardLinks, clock: Clock
) -> MailDelivery:
    """The sending half alone, for the worker and the command line.

    Raises MisconfiguredError for a file of authorities that cannot be used.
    """
    routes = MailRoutes(email, database, clock)
    routes.check()
    return MailDelivery(routes, database, links, Letterhead(logo_url=email.logo_url))


async def send_operator_test(
    email: EmailSettings, clock: Clock, recipient: str, key: str
) -> Receipt:
    """Send a test mail by the operator's provider, without any store.

    Raises UnmetError (`MAIL_NOT_CONFIGURED`, `MAIL_REFUSED`), UnavailableError and
    MisconfiguredError.
    """
    route = MailRoutes(email, None, clock).operator()
    return await send_test(route, Letterhead(logo_url=email.logo_url), recipient, key)
