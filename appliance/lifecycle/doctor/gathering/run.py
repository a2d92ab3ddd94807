"""Everything is looked at at once, and nothing holds the others up.

Invariant: each probe has a deadline and its failure is one `Unseen`, so the facts come within
`PROBE_SECONDS_MAX` whatever state the machine is in.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from appliance.base.errors import ApplianceError
from appliance.lifecycle.doctor.facts import Facts, Subject
from appliance.lifecycle.doctor.gathering.backups import gather_backups
from appliance.lifecycle.doctor.gathering.certificate import gather_certificate
from appliance.lifecycle.doctor.gathering.files import gather_files, gather_secrets
from appliance.lifecycle.doctor.gathering.machine import (
    gather_clock,
    gather_disks,
    gather_host,
    gather_memory,
)
from appliance.lifecycle.doctor.gathering.operation import gather_operation
from appliance.lifecycle.doctor.gathering.queue import gather_queue
from appliance.lifecycle.doctor.gathering.release import gather_release
from appliance.lifecycle.doctor.gathering.scene import Scene
from appliance.lifecycle.doctor.gathering.services import gather_ports, gather_services
from appliance.lifecycle.doctor.gathering.stores import gather_stores

PROBE_SECONDS_MAX: Final = 15.0

Found = TypeVar("Found")


async def gather(scene: Scene, *, probe_seconds_max: float = PROBE_SECONDS_MAX) -> Facts:
    """All facts about an installation; never fails."""

    async def bounded(subject: Subject, look: Callable[[Scene], Awaitable[Found]]) -> Found | None:
        try:
            async with asyncio.timeout(probe_seconds_max):
                return await look(scene)
        except TimeoutError:
            why = f"looking did not end within {probe_seconds_max:.0f} s"
        except ApplianceError as error:
            why = error.message
        except OSError as error:
            why = error.strerror or str(error)
        except Exception as error:  # noqa: BLE001 a doctor who falls ill himself says so and goes on
            why = f"a bug in looking: {type(error).__name__}: {error}"
        scene.blind(subject, f"the {subject}", why)
        return None

    async with asyncio.TaskGroup() as group:
        services = group.create_task(bounded(Subject.SERVICES, gather_services))
        ports = group.create_task(bounded(Subject.PORTS, gather_ports))
        files = group.create_task(bounded(Subject.FILES, gather_files))
        secrets = group.create_task(bounded(Subject.SECRETS, gather_secrets))
        disks = group.create_task(bounded(Subject.DISK, gather_disks))
        memory = group.create_task(bounded(Subject.MEMORY, gather_memory))
        clock = group.create_task(bounded(Subject.CLOCK, gather_clock))
        certificate = group.create_task(bounded(Subject.CERTIFICATE, gather_certificate))
        queue = group.create_task(bounded(Subject.QUEUE, gather_queue))
        stores = group.create_task(bounded(Subject.STORES, gather_stores))
        backups = group.create_task(bounded(Subject.BACKUPS, gather_backups))
        release = group.create_task(bounded(Subject.RELEASE, gather_release))
        host = group.create_task(bounded(Subject.HOST, gather_host))
        operation = group.create_task(bounded(Subject.OPERATION, gather_operation))
    facts = Facts(
        place=scene.place,
        settings=scene.settings,
        config=scene.config,
        services=services.result(),
        ports=ports.result(),
        files=files.result(),
        secrets=secrets.result(),
        disks=disks.result(),
        memory=memory.result(),
        clock=clock.result(),
        certificate=certificate.result(),
        queue=queue.result(),
        stores=stores.result(),
        backups=backups.result(),
        release=release.result(),
        host=host.result(),
        operation=operation.result(),
    )
    return msgspec.structs.replace(facts, unseen=tuple(scene.unseen))
