"""Brings each of the three stores to the schema of this release.

Invariant: each function may be called twice, by two processes at once, and after a `kill -9` in its
middle; it ends in the same schema. `schema.py` decides what is to do, the store's own `ledger.py`
does it.
"""

from appliance.storage.clickhouse.ledger import migrate_clickhouse
from appliance.storage.postgres.ledger import migrate_postgres
from appliance.storage.schema import MigrationReport, Progress
from appliance.storage.streams.ledger import migrate_nats

__all__ = [
    "MigrationReport",
    "Progress",
    "migrate_clickhouse",
    "migrate_nats",
    "migrate_postgres",
]
