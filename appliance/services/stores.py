"""The connections that the services of one process share."""

from msgspec import Struct

from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.publish import Publisher


class Stores(Struct, frozen=True, kw_only=True):
    """Every store, each connecting when it is first asked."""

    postgres: Postgres
    clickhouse: ClickHouse
    streams: Streams
    publisher: Publisher
