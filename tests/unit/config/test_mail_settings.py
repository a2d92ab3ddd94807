"""What of the mail settings is refused, and what only leaves mail off."""

import pytest

from appliance.config.load import inspect_settings
from appliance.config.people import EmailProvider, SmtpSecurity


def problems(**flags: str) -> list[str]:
    """The keys that are complained about."""
    given = {f"email.{name.replace('__', '.')}": text for name, text in flags.items()}
    loaded = inspect_settings(config_file=None, environment={}, flags=given)
    return [problem.key for problem in loaded.problems]


def test_nothing_is_needed() -> None:
    """Without any setting there is no provider and no complaint."""
    loaded = inspect_settings(config_file=None, environment={}, flags={})
    assert loaded.problems == ()
    assert loaded.settings.email.provider is EmailProvider.AUTO
    assert loaded.settings.email.smtp.security is SmtpSecurity.STARTTLS


def test_the_names_of_the_contract_set_the_mail() -> None:
    """[configuration 4]; an empty secret counts as unset, as sample files have it."""
    loaded = inspect_settings(
        config_file=None,
        environment={
            "PUG_EMAIL_PROVIDER": "ses",
            "PUG_EMAIL_FROM": "Pug <pug@example.com>",
            "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_SESSION_TOKEN": "",
            "PUG_RESEND_API_KEY": "",
        },
        flags={},
    )
    email = loaded.settings.email
    assert loaded.problems == ()
    assert (email.provider, email.ses_region) == (EmailProvider.SES, "eu-west-1")
    assert (email.ses_access_key_id, email.ses_secret_access_key) == ("AKIDEXAMPLE", None)


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"provider": "sendmail"}, "email.provider"),
        ({"provider": "Resend"}, "email.provider"),
        ({"sender": "nobody"}, "email.sender"),
        ({"reply_to": "a@b@c"}, "email.reply_to"),
        ({"logo_url": "file:///etc/passwd"}, "email.logo_url"),
        ({"resend_url": "ftp://example"}, "email.resend_url"),
        ({"smtp__user": "pug"}, "email.smtp.user"),
        ({"smtp__password": "secret"}, "email.smtp.user"),
        ({"smtp__security": "maybe"}, "email.smtp.security"),
        ({"smtp__port": "65536"}, "email.smtp.port"),
    ],
)
def test_what_cannot_work_is_refused(flags: dict[str, str], key: str) -> None:
    """With the key to change."""
    assert problems(**flags) == [key]
