"""Which provider carries mail, what is missing for it, and that mail may be missing."""

import base64
from typing import Any

import msgspec
import pytest

from appliance.base.clock import SystemClock
from appliance.base.errors import UnmetError
from appliance.config.people import EmailProvider, EmailSettings, SmtpSettings
from appliance.config.secrets import Secret
from appliance.services.mail.readiness import chosen_provider, has_mail, missing_settings
from appliance.services.mail.routes import MailRoutes

KEY = Secret(base64.b64encode(bytes(32)).decode())
RELAY = SmtpSettings(host="relay")


def settings(**given: Any) -> EmailSettings:
    return msgspec.structs.replace(EmailSettings(), **given)


@pytest.mark.parametrize(
    ("given", "provider", "missing"),
    [
        ({}, EmailProvider.NONE, ("email.provider",)),
        ({"smtp": RELAY}, EmailProvider.SMTP, ("email.sender",)),
        ({"smtp": RELAY, "sender": "a@b.c"}, EmailProvider.SMTP, ()),
        (
            {"smtp": RELAY, "sender": "a@b.c", "provider": EmailProvider.NONE},
            EmailProvider.NONE,
            ("email.provider",),
        ),
        ({"resend_api_key": KEY, "sender": "a@b.c"}, EmailProvider.RESEND, ()),
        (
            {"provider": EmailProvider.RESEND},
            EmailProvider.RESEND,
            ("email.resend_api_key", "email.sender"),
        ),
        (
            {"provider": EmailProvider.SES, "sender": "a@b.c", "ses_region": "eu-west-1"},
            EmailProvider.SES,
            ("email.ses_access_key_id", "email.ses_secret_access_key"),
        ),
        ({"ses_region": "eu-west-1", "sender": "a@b.c"}, EmailProvider.NONE, ("email.provider",)),
    ],
)
def test_what_carries_the_mail(
    given: dict[str, Any], provider: EmailProvider, missing: tuple[str, ...]
):
    email = settings(**given)
    assert chosen_provider(email) is provider
    assert missing_settings(email) == missing
    assert has_mail(email) == (not missing)


def test_a_key_for_organisations_is_mail_too():
    assert has_mail(settings(provider_secret_key=KEY))


def test_without_mail_the_error_names_the_settings_and_the_way_around():
    with pytest.raises(UnmetError) as caught:
        MailRoutes(settings(smtp=RELAY), None, SystemClock()).operator()
    assert caught.value.reason == "MAIL_NOT_CONFIGURED"
    assert "email.sender" in str(caught.value)
    assert "user magic-link" in str(caught.value)
