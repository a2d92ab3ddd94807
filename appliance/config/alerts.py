"""Settings of alerts: where webhooks may go.

Invariant: as in `model.py`, of whose tree this is a branch. Nothing listed means that the
appliance connects to nobody on behalf of an alert.
"""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from appliance.config.section import Section

_HOST: Final = r"^[A-Za-z0-9_.:/\[\]-]+$"


class AlertSettings(Section, frozen=True, kw_only=True):
    """Alerts on insights; mail needs nothing here, see `email`."""

    webhook_hosts: Annotated[
        tuple[Annotated[str, Meta(max_length=260, pattern=_HOST)], ...],
        Meta(
            description="hosts that alerts may post to: names, addresses or networks (CIDR), each "
            "with `:port` or for any port; empty: no webhooks. They also need "
            "`email.provider_secret_key`, which encrypts their secrets"
        ),
    ] = ()
    ca_file: Annotated[
        Path | None,
        Meta(
            description="PEM file of the authorities that webhooks by https are checked against; "
            "unset: those of the machine"
        ),
    ] = None
