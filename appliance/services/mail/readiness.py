"""Whether mail can be sent, and what is missing for it.

Invariant: an answer from the settings alone, and cheap: whoever only asks loads no mail library.
"""

from appliance.config.people import EmailProvider, EmailSettings


def chosen_provider(email: EmailSettings) -> EmailProvider:
    """Who carries the operator's mail; `auto` decided [configuration 4]."""
    if email.provider is not EmailProvider.AUTO:
        return email.provider
    if email.smtp.host:
        return EmailProvider.SMTP
    return EmailProvider.RESEND if email.resend_api_key is not None else EmailProvider.NONE


def missing_settings(email: EmailSettings) -> tuple[str, ...]:
    """The keys that must be set before the operator's mail is sent; empty when it is."""
    needed: dict[EmailProvider, tuple[tuple[str, object], ...]] = {
        EmailProvider.SMTP: (("email.smtp.host", email.smtp.host),),
        EmailProvider.RESEND: (("email.resend_api_key", email.resend_api_key),),
        EmailProvider.SES: (
            ("email.ses_region", email.ses_region),
            ("email.ses_access_key_id", email.ses_access_key_id),
            ("email.ses_secret_access_key", email.ses_secret_access_key),
        ),
    }
    provider = chosen_provider(email)
    if provider not in needed:
        return ("email.provider",)
    wanted = (*needed[provider], ("email.sender", email.sender))
    return tuple(key for key, value in wanted if not value)


def has_mail(email: EmailSettings) -> bool:
    """Whether anything can be sent at all: by the operator's provider or by organisations' own."""
    return not missing_settings(email) or email.provider_secret_key is not None
