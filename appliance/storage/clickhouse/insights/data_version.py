"""Which data an answer is about: one number for everything that insights read.

Invariant: names of parts are never used twice within a table, so any insert, erasure or merge gives
another number. Read before the question: then an answer is never older than its number says.
"""

from typing import Final, LiteralString

from appliance.storage.clickhouse.fragment import Statement, finish, literal
from appliance.storage.clickhouse.insights.settings import INSIGHT

_VERSION: Final[LiteralString] = """
SELECT groupBitXor(cityHash64(table, name, modification_time)) FROM system.parts
WHERE active AND database = currentDatabase() AND table IN (
    'events', 'dashboard_event_rollup_daily', 'dashboard_session_rollup',
    'profiles', 'profile_aliases'
)
"""


def compile_data_version() -> Statement:
    """The statement whose one value is the version."""
    return finish(literal(_VERSION), INSIGHT)
