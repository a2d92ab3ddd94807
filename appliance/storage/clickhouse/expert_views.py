"""The tables that an expert sees: views in a database of their own.

Invariant: every view shows the rows of the project that the setting `log_comment` names, and none
without it; the setting comes with the request, and a read-only query cannot change it. A view that
is not as this release wants it is replaced before the first query of a process. No data is here,
so a backup need not know these views.
"""

import hashlib
from typing import Final, LiteralString, cast

from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.session_slots import ENDS, SLOTS

SCOPE_SETTING: Final = "log_comment"
"""Carries the id of the project; every server knows this setting, and it has no other effect."""

_UNTAGGED: Final = "mapApply((k, v) -> (toString(k), substring(v, 2)), stored.<name>) AS <name>"
_PROMOTED: Final = """country, region, city, browser, browser_version, os, os_version, device,
    platform, mobile, bot_score, verified_bot, url, hostname, pathname, page_title, referrer,
    referrer_domain, channel, utm_source, utm_medium, utm_campaign, utm_term, utm_content, locale,
    screen_size"""
_END_TEXTS: Final = ", ".join(f"{texts} AS {end}_texts" for end, texts in ENDS)
_END_COLUMNS: Final = ", ".join(
    f"{end}_texts[{number}] AS {end}_{name}"
    for end, _ in ENDS
    for number, name in enumerate(SLOTS.values(), 1)
)

VIEWS: Final[dict[str, str]] = {
    "events": f"""
SELECT event_id, occur_time, insert_time, toString(kind) AS kind, distinct_id, session_id,
    {_PROMOTED},
    {_UNTAGGED.replace("<name>", "auto_properties")},
    {_UNTAGGED.replace("<name>", "custom_properties")}
FROM <database>.events AS stored
WHERE project_id = <scope>""",  # noqa: S608 constants of this module
    "sessions": f"""
SELECT session_id, start_time, end_time, event_count, {_END_COLUMNS}
FROM
(
    SELECT session_id, min(stored.start_time) AS start_time, max(stored.end_time) AS end_time,
        sum(stored.event_count) AS event_count, {_END_TEXTS}
    FROM <database>.dashboard_session_rollup AS stored
    WHERE project_id = <scope> AND scope = ''
    GROUP BY session_id
)""",  # noqa: S608 constants of this module
    "event_names": """
SELECT toString(stored.kind) AS kind, sum(stored.event_count) AS event_count,
    max(stored.last_time) AS last_time
FROM <database>.event_names AS stored
WHERE project_id = <scope>
GROUP BY kind""",
    "persons": """
SELECT id, argMax(stored.external_id, version) AS external_id,
    argMax(stored.properties, version) AS properties,
    argMax(stored.create_time, version) AS create_time,
    argMax(stored.update_time, version) AS update_time
FROM <database>.profiles AS stored
WHERE project_id = <scope>
GROUP BY id
HAVING NOT argMax(deleted, version)""",
    "person_ids": """
SELECT alias_id AS distinct_id, argMax(profile_id, version) AS person_id
FROM <database>.profile_aliases AS stored
WHERE project_id = <scope>
GROUP BY alias_id""",
}
"""The query of each view; `<database>` holds the stored tables, `<scope>` is the project."""

STORED_TABLES: Final = (
    *("events", "dashboard_event_rollup_daily", "dashboard_session_rollup", "event_names"),
    *("distinct_id_activity_states", "property_keys_event_buckets", "profiles"),
    *("profile_aliases", "events_repair", "compacted_sessions", "compacted_sessions_progress"),
    *("compacted_visitors", "compacted_visitor_numbers", "compacted_visitors_progress"),
)
"""Every stored table with rows of projects; a test compares with the schema."""

_KNOWN: Final = "SELECT name, comment FROM system.tables WHERE database = {name:String}"
_MAKE_DATABASE: Final = "CREATE DATABASE IF NOT EXISTS {name:Identifier}"


def views_database(database: str) -> str:
    """Where the views about a database are."""
    return f"{database}_sql"


async def make_views(store: ClickHouse, database: str) -> None:
    """Make the views as this release wants them; nothing is done when they are.

    Raises UnavailableError, and MisconfiguredError when the account may not make views.
    """
    assert database.isidentifier(), "the migrations refuse others"
    target = views_database(database)
    known = {str(name): str(mark) for name, mark in await store.rows(_KNOWN, {"name": target})}
    if not known:
        await store.command(_MAKE_DATABASE, {"name": target})
    for name, query in VIEWS.items():
        text = query.replace("<database>", f"`{database}`").replace(
            "<scope>", f"getSetting('{SCOPE_SETTING}')"
        )
        mark = hashlib.sha256(text.encode()).hexdigest()[:16]
        if known.get(name) != mark:
            made = f"CREATE OR REPLACE VIEW `{target}`.`{name}` AS {text} COMMENT '{mark}'"
            # constants of this module and a checked name: literal although no checker can see it
            await store.command(cast("LiteralString", made))
