"""Everything that is done behind the API, in one process: mail, scheduler, people and so on.

Invariant: the duties share one set of connections and nothing else; the events worker is not among
them, because it must go on whatever these do. Which duty does what stands in its own module.
"""

from collections.abc import Collection
from typing import Final

from appliance.base.clock import Clock, SystemClock
from appliance.config.endpoints import resolve_endpoints
from appliance.config.model import Settings
from appliance.services.wiring import Services, build_services
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.retention import STATEMENT_SECONDS_MAX
from appliance.workers.alerts import alerts_duty
from appliance.workers.compliance import compliance_duty
from appliance.workers.duty import Duty
from appliance.workers.email_duty import email_duty
from appliance.workers.process import serve_duties, stop_on_signals
from appliance.workers.profiles import profile_duties
from appliance.workers.scheduler_duty import Hands, scheduler_duty

PROCESS_NAME: Final = "pug-background"
DEMO: Final = "demo"


async def run_background(
    settings: Settings, hands: Hands, *, only: Collection[str] = frozenset()
) -> None:
    """Run the duties named in `only`, else all, until SIGTERM or SIGINT."""
    stop = stop_on_signals()
    clock = SystemClock()
    services = build_services(settings, name=PROCESS_NAME, quiet=True)
    patient = ClickHouse(
        resolve_endpoints(settings).clickhouse, answer_seconds_max=2 * STATEMENT_SECONDS_MAX
    )
    duties = make_duties(services, settings, clock, hands, patient)
    if settings.demo.enabled or DEMO in only:
        from appliance.workers.demo import demo_duty  # noqa: PLC0415 for the few that have a demo

        duties += (demo_duty(services, settings, clock),)
    chosen = tuple(duty for duty in duties if not only or duty.name in only)
    try:
        if any(duty.state.stream for duty in chosen):
            await services.open()
        await serve_duties(
            chosen,
            stop,
            health_address=settings.worker.health_addr,
            connected=lambda: services.stores.streams.connected,
            announce=services.stores.publisher.announce,
        )
    finally:
        await patient.close()
        await services.close()


def make_duties(
    services: Services, settings: Settings, clock: Clock, hands: Hands, patient: ClickHouse
) -> tuple[Duty, ...]:
    """Every duty; making them touches no network."""
    return (
        email_duty(services.stores, settings, clock),
        scheduler_duty(services, settings, clock, hands, patient=patient),
        *profile_duties(services.stores, settings, clock),
        compliance_duty(services.stores, settings, clock),
        alerts_duty(services, settings, clock),
    )
