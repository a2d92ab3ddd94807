"""All checks, and the report they make.

Invariant: every check is listed here by name of its module; names are unique, and each has a row in
`docs/doctor.md` (a test compares).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from appliance.lifecycle.doctor.check import Check, Finding, Severity
from appliance.lifecycle.doctor.facts import Facts, Mode, Subject
from appliance.lifecycle.doctor.subjects import (
    backups,
    certificate,
    clock,
    configuration,
    disk,
    files,
    host,
    memory,
    operation,
    ports,
    queue,
    release,
    services,
    stores,
)

CHECKS: Final[tuple[Check, ...]] = (
    *configuration.CHECKS,
    *services.CHECKS,
    *ports.CHECKS,
    *files.CHECKS,
    *disk.CHECKS,
    *memory.CHECKS,
    *clock.CHECKS,
    *certificate.CHECKS,
    *queue.CHECKS,
    *stores.CHECKS,
    *backups.CHECKS,
    *release.CHECKS,
    *host.CHECKS,
    *operation.CHECKS,
)
UNSEEN: Final = "unseen"
"""The name of the findings about what could not be looked at."""
_GRAVITY: Final = tuple(Severity)


class DoctorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor --json` prints; the gravest findings first."""

    healthy: bool
    mode: Mode
    data_dir: str
    release: str
    checked_at: str
    failed: int
    warnings: int
    notes: int
    findings: tuple[Finding, ...]


def examine(facts: Facts, *, only: Iterable[Subject] = ()) -> DoctorReport:
    """Judge the facts; with `only` about some subjects."""
    subjects = set(only) or set(Subject)
    found = [finding for finding in _findings(facts) if finding.subject in subjects]
    found.sort(key=lambda one: _GRAVITY.index(one.severity))  # stable: subjects keep their order
    counts = {level: sum(one.severity is level for one in found) for level in Severity}
    return DoctorReport(
        healthy=not counts[Severity.FAILED],
        mode=facts.place.mode,
        data_dir=facts.place.data_dir,
        release=facts.place.release,
        checked_at=facts.place.now.isoformat(timespec="seconds"),
        failed=counts[Severity.FAILED],
        warnings=counts[Severity.WARNING],
        notes=counts[Severity.NOTE],
        findings=tuple(found),
    )


def _findings(facts: Facts) -> Iterable[Finding]:
    for check in CHECKS:
        for verdict in check.judge(facts):
            yield Finding(
                check=check.name,
                subject=check.subject,
                severity=verdict.severity,
                cause=verdict.cause,
                remedy=verdict.remedy,
            )
    for one in facts.unseen:
        yield Finding(
            check=UNSEEN,
            subject=one.subject,
            severity=Severity.NOTE,
            cause=f"{one.what} could not be looked at",
            remedy=one.why,
        )
