"""Whom we believe when we connect out over TLS.

Invariant: certificates and names are always checked; there is no switch to turn that off. Which
authorities count is decided by the operator's file, else by the machine.
"""

import ssl
from pathlib import Path
from typing import Final

from appliance.base.errors import MisconfiguredError

MACHINE_BUNDLES: Final = tuple(
    Path(path)
    for path in (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    )
)
"""Where distributions keep their authorities; our OpenSSL may look elsewhere."""


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """How to check servers; raises MisconfiguredError for an authorities' file that is none."""
    if ca_file is None:
        context = ssl.create_default_context()
        if not context.get_ca_certs():
            for bundle in MACHINE_BUNDLES:
                if bundle.is_file():
                    context.load_verify_locations(cafile=bundle)
                    break
    else:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise MisconfiguredError(
                "CA_FILE_UNUSABLE",
                f"{ca_file} is no readable file of certificates",
                hint="give a PEM file that the appliance may read",
            ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
