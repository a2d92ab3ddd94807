"""Counts what each project used, for `UsageService` [services 13]."""

from appliance.services.control import ControlPlane
from appliance.services.jobs.desk import Desk, Meter


async def meter_usage(desk: Desk) -> str:
    """Bring the numbers of usage up to date."""
    if desk.meter is None:
        return "this release does not meter usage"
    await desk.lead.require()
    return f"metered {await desk.meter()} days of projects"


def find_meter(control: ControlPlane) -> Meter | None:
    """What counts usage in this release."""
    return control.usage.meter
