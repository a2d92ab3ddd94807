"""How jobs send mail: at once, through the operator's provider.

Invariant: jobs do not use the queue of mails, whose messages have no room for a letter of ours;
a job is recorded and repeated anyway.
"""

from appliance.config.people import EmailSettings
from appliance.domain.mail.letters import Letter
from appliance.services.jobs.desk import Mailer, NoMailer
from appliance.services.mail.delivery import MailDelivery
from appliance.services.mail.readiness import missing_settings


class OperatorMailer:
    """Sends by the operator's provider."""

    def __init__(self, delivery: MailDelivery) -> None:
        self._delivery = delivery

    async def is_ready(self) -> bool:
        return True

    async def send(self, address: str, letter: Letter, *, dispatch_id: str) -> None:
        await self._delivery.send_letter(address, letter, dispatch_id)


def find_mailer(email: EmailSettings, delivery: MailDelivery) -> Mailer:
    """The operator's mail of this installation, or none."""
    return NoMailer() if missing_settings(email) else OperatorMailer(delivery)
