"""Whether somebody would notice."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Mode, Subject

ERRORS_MANY: Final = 20
SCRAPE_SECONDS_MAX: Final = 600.0
"""Who asks less often than that is curious, and does not watch."""


def judge_monitored(facts: Facts) -> Iterator[Verdict]:
    operation = facts.operation
    if operation is None or not facts.running:
        return
    if operation.metrics_error:
        yield warning(
            f"/metrics does not answer: {operation.metrics_error}", "see `pug-appliance logs api`"
        )
    elif operation.scrapes is not None and _is_unwatched(operation.scrapes, _uptime(facts)):
        yield advice(
            facts,
            "nobody reads /metrics: a problem is noticed by its victims",
            "let a Prometheus of this network read it (`pug-appliance template prometheus`)",
        )
    else:
        yield ok("/metrics answers")


def _is_unwatched(scrapes: int, uptime_seconds: float) -> bool:
    return uptime_seconds > SCRAPE_SECONDS_MAX and scrapes < uptime_seconds / SCRAPE_SECONDS_MAX


def _uptime(facts: Facts) -> float:
    components = facts.services.components if facts.services is not None else ()
    return next((one.uptime_seconds for one in components if one.name == "api"), 0.0)


def judge_forwarded(facts: Facts) -> Iterator[Verdict]:
    operation = facts.operation
    if operation is None or facts.place.mode is not Mode.INSTALLED:
        return
    syslog = facts.settings.logs.syslog
    if syslog.startswith(("udp://", "tcp://")):
        yield note(
            f"log lines travel unencrypted to {syslog}",
            "use tls:// in logs.syslog, if the server can",
        )
    elif syslog:
        yield ok(f"log lines are sent to {syslog}")
    elif operation.log_carriers:
        yield ok(f"{', '.join(operation.log_carriers)} can carry logs elsewhere")
    else:
        yield advice(
            facts,
            "logs stay on this machine: whoever breaks in can remove the traces",
            "forward them (`pug-appliance template rsyslog`)",
        )


def judge_kept(facts: Facts) -> Iterator[Verdict]:
    operation = facts.operation
    if operation is None or facts.place.mode is not Mode.INSTALLED:
        return
    if operation.journal_persistent is False:
        yield advice(
            facts,
            "the journal lies in memory: a reboot loses it",
            "run `mkdir /var/log/journal && systemctl restart systemd-journald`",
        )
    elif operation.journal_persistent:
        yield ok("the journal survives a reboot")


def judge_errors(facts: Facts) -> Iterator[Verdict]:
    if facts.operation is None or facts.operation.log_bytes is None:
        return
    errors = facts.operation.errors_logged
    for name, count in errors.items():
        cause = f"{name} logged {count} errors in the last day"
        remedy = f"look at them: `pug-appliance logs {name}`"
        yield warning(cause, remedy) if count >= ERRORS_MANY else note(cause, remedy)
    if not errors:
        yield ok("no component logged an error in the last day")


def judge_jobs(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or stores.postgres_jobs_led is None or not facts.running:
        return
    if not stores.postgres_jobs_led:
        yield warning(
            "no scheduler leads, so nothing is purged, reported or reminded of",
            "run `pug-appliance logs scheduler`, then `pug-appliance restart scheduler`",
        )
    for failure in stores.postgres_jobs_failed:
        name = failure.partition(":")[0]
        yield warning(f"the job {failure}", f"run `pug-appliance jobs show {name}`")
    if stores.postgres_jobs_led and not stores.postgres_jobs_failed:
        yield ok("a scheduler leads, and the last run of every job went well")


CHECKS: Final = (
    Check(
        name="monitored",
        subject=Subject.OPERATION,
        question="Does somebody read the metrics?",
        judge=judge_monitored,
    ),
    Check(
        name="logs-forwarded",
        subject=Subject.OPERATION,
        question="Do logs leave this machine?",
        judge=judge_forwarded,
    ),
    Check(
        name="journal-kept",
        subject=Subject.OPERATION,
        question="Does the journal survive a reboot?",
        judge=judge_kept,
    ),
    Check(
        name="errors-logged",
        subject=Subject.OPERATION,
        question="Were errors logged lately?",
        judge=judge_errors,
    ),
    Check(
        name="jobs",
        subject=Subject.OPERATION,
        question="Does a scheduler lead, and do its jobs go well?",
        judge=judge_jobs,
    ),
)
