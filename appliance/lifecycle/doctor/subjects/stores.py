"""Whether the databases answer, keep what they acknowledge, and have room to work."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, failed, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Subject

CONNECTIONS_SHARE_MAX: Final = 0.9
WRAPAROUND_WARNING: Final = 1_000_000_000
WRAPAROUND_FAILED: Final = 1_800_000_000
TRANSACTION_SECONDS_MAX: Final = 3600.0
PARTS_MAX: Final = 1000


def judge_answers(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or not facts.running:
        return
    for name, error, component in (
        ("PostgreSQL", stores.postgres_error, "postgres"),
        ("the event store", stores.clickhouse_error, "clickhouse"),
    ):
        if error:
            yield failed(
                f"{name} does not answer: {error}", f"see `pug-appliance logs {component}`"
            )
    if not stores.postgres_error and not stores.clickhouse_error:
        yield ok("both databases answer")


def judge_durable(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or (stores.postgres_error and stores.clickhouse_error):
        return
    for one in stores.postgres_unsafe:
        yield failed(
            f"PostgreSQL runs with {one}: a power cut can lose or damage what is stored",
            "remove that line from operator.conf, and restart it",
        )
    for one in stores.clickhouse_unsafe:
        yield failed(
            f"the table of events has {one}: a power cut can lose stored events",
            "run `ALTER TABLE events MODIFY SETTING fsync_after_insert = 1` in the event store",
        )
    if not stores.postgres_unsafe and not stores.clickhouse_unsafe:
        yield ok("the databases flush what they acknowledge")


def judge_way(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or not (stores.postgres_external or stores.clickhouse_external):
        return
    if not stores.postgres_secure:
        yield warning(
            "the way to the external PostgreSQL may be unencrypted",
            "add sslmode=verify-full to postgres.url",
        )
    if not stores.clickhouse_secure:
        yield warning(
            "the way to the external ClickHouse is not encrypted", "use https:// in clickhouse.url"
        )
    if stores.postgres_secure and stores.clickhouse_secure:
        yield ok("the ways to external databases are encrypted or local")


def judge_connections(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or not stores.postgres_connections_max:
        return
    used, most = stores.postgres_connections, stores.postgres_connections_max
    cause = f"PostgreSQL has {used} of {most} connections in use"
    if used > CONNECTIONS_SHARE_MAX * most:
        yield warning(cause, "raise postgres.connections_max, or lower postgres.pool_size_max")
    else:
        yield ok(cause)


def judge_transactions(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or not stores.postgres_connections_max:
        return
    age = stores.postgres_wraparound
    if age > WRAPAROUND_FAILED:
        yield failed(
            "PostgreSQL is about to refuse writing: transaction numbers are nearly used up",
            "end long transactions, then run VACUUM FREEZE in every database",
        )
    elif age > WRAPAROUND_WARNING:
        yield warning(
            f"PostgreSQL has not frozen rows for {age} transactions",
            "see why autovacuum does not get through (`pug-appliance logs postgres`)",
        )
    elif stores.postgres_longest_seconds > TRANSACTION_SECONDS_MAX:
        yield warning(
            f"a transaction is open for {stores.postgres_longest_seconds / 3600:.1f} h",
            "end it; it keeps PostgreSQL from cleaning up",
        )
    else:
        yield ok("PostgreSQL cleans up in time")


def judge_parts(facts: Facts) -> Iterator[Verdict]:
    stores = facts.stores
    if stores is None or stores.parts_most is None:
        return
    cause = f"no partition of the event store has more than {stores.parts_most} parts"
    if stores.parts_most > PARTS_MAX:
        yield warning(
            cause.replace("no partition", "a partition").replace("more than ", ""),
            "raise worker.insert_wait, so that inserts are fewer and larger",
        )
    else:
        yield ok(cause)


CHECKS: Final = (
    Check(
        name="databases",
        subject=Subject.STORES,
        question="Do the databases answer?",
        judge=judge_answers,
    ),
    Check(
        name="databases-durable",
        subject=Subject.STORES,
        question="Do the databases flush what they acknowledge?",
        judge=judge_durable,
    ),
    Check(
        name="databases-external",
        subject=Subject.STORES,
        question="Is the way to external databases encrypted?",
        judge=judge_way,
    ),
    Check(
        name="connections",
        subject=Subject.STORES,
        question="Are there connections left?",
        judge=judge_connections,
    ),
    Check(
        name="transactions",
        subject=Subject.STORES,
        question="Does PostgreSQL clean up in time?",
        judge=judge_transactions,
    ),
    Check(
        name="parts",
        subject=Subject.STORES,
        question="Does the event store merge in time?",
        judge=judge_parts,
    ),
)
