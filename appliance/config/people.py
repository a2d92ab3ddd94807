"""Settings about people: how they sign in and how mail reaches them.

Invariant: as in `model.py`, of whose tree these are branches: a default that works on a laptop, a
description and the environment names of every field, and no default secret.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from appliance.config.secrets import Secret
from appliance.config.section import Section, env_names


class EmailProvider(StrEnum):
    """Who carries the operator's mail [configuration 4]."""

    RESEND = "resend"
    SES = "ses"


class SessionSettings(Section, frozen=True, kw_only=True):
    """Sign-in to the dashboard."""

    signing_key: Annotated[
        Secret | None,
        Meta(
            description="HMAC key of access tokens; unset: made at first start",
            extra=env_names("PUG_JWT_SECRET_KEY"),
        ),
    ] = None
    google_client_id: Annotated[
        str,
        Meta(
            description="audience of Google ID tokens; empty switches Google sign-in off",
            extra=env_names("PUG_OAUTH_GOOGLE_CLIENT_ID"),
        ),
    ] = ""


class EmailSettings(Section, frozen=True, kw_only=True):
    """Outgoing mail; without a provider no mail is sent."""

    dashboard_base_url: Annotated[
        str,
        Meta(description="start of the links in mails", extra=env_names("PUG_DASHBOARD_BASE_URL")),
    ] = ""
    sender: Annotated[
        str, Meta(description="operator's sender address", extra=env_names("PUG_EMAIL_FROM"))
    ] = ""
    reply_to: Annotated[
        str, Meta(description="operator's reply-to address", extra=env_names("PUG_EMAIL_REPLY_TO"))
    ] = ""
    logo_url: Annotated[
        str, Meta(description="picture in the mail header", extra=env_names("PUG_EMAIL_LOGO_URL"))
    ] = ""
    provider: Annotated[
        EmailProvider,
        Meta(description="operator's mail provider", extra=env_names("PUG_EMAIL_PROVIDER")),
    ] = EmailProvider.RESEND
    resend_api_key: Annotated[
        Secret | None, Meta(description="key for Resend", extra=env_names("PUG_RESEND_API_KEY"))
    ] = None
    ses_region: Annotated[
        str, Meta(description="region for SES", extra=env_names("PUG_SES_REGION", "AWS_REGION"))
    ] = ""
    provider_secret_key: Annotated[
        Secret | None,
        Meta(
            description="base64 of the 32 bytes that encrypt organisations' mail credentials",
            extra=env_names("PUG_EMAIL_PROVIDER_SECRET_KEY"),
        ),
    ] = None
