"""Settings about people: how they sign in and how mail reaches them.

Invariant: as in `model.py`, of whose tree these are branches: a default that works on a laptop, a
description and the environment names of every field, and no default secret.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from appliance.config.secrets import Secret
from appliance.config.section import Section, env_names


class EmailProvider(StrEnum):
    """Who carries the operator's mail [configuration 4]; `auto` and `none` are ours."""

    AUTO = "auto"
    NONE = "none"
    SMTP = "smtp"
    RESEND = "resend"
    SES = "ses"


class SmtpSecurity(StrEnum):
    """How a connection to the mail server is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class SessionSettings(Section, frozen=True, kw_only=True):
    """Sign-in to the dashboard."""

    signing_key: Annotated[
        Secret | None,
        Meta(
            description="HMAC key of access tokens; unset: made at first start",
            extra=env_names("PUG_JWT_SECRET_KEY"),
        ),
    ] = None
    open_sign_up: Annotated[
        bool,
        Meta(
            description="anybody who proves an e-mail address may come in and gets an organisation "
            "of their own; otherwise only who was invited or made by the operator"
        ),
    ] = True
    google_client_id: Annotated[
        str,
        Meta(
            description="audience of Google ID tokens; empty switches Google sign-in off",
            extra=env_names("PUG_OAUTH_GOOGLE_CLIENT_ID"),
        ),
    ] = ""


class SmtpSettings(Section, frozen=True, kw_only=True):
    """The operator's own mail server."""

    host: Annotated[str, Meta(description="mail server; empty: mail is not sent by SMTP")] = ""
    port: Annotated[
        int, Meta(ge=0, le=65535, description="its port; 0: 587, 465 with tls, 25 with none")
    ] = 0
    security: Annotated[
        SmtpSecurity,
        Meta(
            description="starttls: encrypted after the greeting, never without; tls: from the "
            "first byte; none: in clear, for a relay in the same network"
        ),
    ] = SmtpSecurity.STARTTLS
    user: Annotated[str, Meta(description="user name; empty: no sign-in")] = ""
    password: Annotated[Secret | None, Meta(description="password of the user")] = None
    greeting_name: Annotated[
        str, Meta(description="name in EHLO; empty: the name of this machine")
    ] = ""


class EmailSettings(Section, frozen=True, kw_only=True):
    """Outgoing mail; without a provider no mail is sent and links are shown instead."""

    dashboard_base_url: Annotated[
        str,
        Meta(
            description="start of the links in mails; empty: address and port of the API",
            extra=env_names("PUG_DASHBOARD_BASE_URL"),
        ),
    ] = ""
    sender: Annotated[
        str,
        Meta(
            description="operator's sender, like `Pug <pug@example.com>`; no mail without it",
            extra=env_names("PUG_EMAIL_FROM"),
        ),
    ] = ""
    reply_to: Annotated[
        str, Meta(description="operator's reply-to address", extra=env_names("PUG_EMAIL_REPLY_TO"))
    ] = ""
    logo_url: Annotated[
        str,
        Meta(
            description="picture in the mail header; empty: the product's name and no picture",
            extra=env_names("PUG_EMAIL_LOGO_URL"),
        ),
    ] = ""
    provider: Annotated[
        EmailProvider,
        Meta(
            description="who carries the operator's mail; auto: smtp when email.smtp.host is set, "
            "else resend when its key is, else none",
            extra=env_names("PUG_EMAIL_PROVIDER"),
        ),
    ] = EmailProvider.AUTO
    smtp: SmtpSettings = SmtpSettings()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file of the authorities that mail providers are checked against; "
            "unset: those of the machine"
        ),
    ] = None
    resend_api_key: Annotated[
        Secret | None, Meta(description="key for Resend", extra=env_names("PUG_RESEND_API_KEY"))
    ] = None
    resend_url: Annotated[str, Meta(description="address of Resend's API")] = (
        "https://api.resend.com"
    )
    ses_region: Annotated[
        str, Meta(description="region for SES", extra=env_names("PUG_SES_REGION", "AWS_REGION"))
    ] = ""
    ses_url: Annotated[
        str, Meta(description="address of the SES API; empty: that of the region")
    ] = ""
    ses_access_key_id: Annotated[
        str, Meta(description="access key for SES", extra=env_names("AWS_ACCESS_KEY_ID"))
    ] = ""
    ses_secret_access_key: Annotated[
        Secret | None,
        Meta(
            description="secret of the access key for SES",
            extra=env_names("AWS_SECRET_ACCESS_KEY"),
        ),
    ] = None
    ses_session_token: Annotated[
        Secret | None,
        Meta(
            description="session token of a temporary access key",
            extra=env_names("AWS_SESSION_TOKEN"),
        ),
    ] = None
    provider_secret_key: Annotated[
        Secret | None,
        Meta(
            description="base64 of the 32 bytes that encrypt organisations' mail credentials; "
            "unset: organisations cannot have a mail provider of their own",
            extra=env_names("PUG_EMAIL_PROVIDER_SECRET_KEY"),
        ),
    ] = None
