"""Which migrations are still to do, and what the files may contain."""

import re

import pytest

from appliance.base.errors import DamagedError, UnmetError
from appliance.storage.schema import (
    Applied,
    Migration,
    compatible_since,
    load_migrations,
    plan_migrations,
    split_statements,
)
from appliance.storage.streams.ledger import merge_definitions

ONE = Migration(version=1, name="0001_create_a", text="a")
TWO = Migration(version=2, name="0002_create_b", text="b")


def applied(migration: Migration, *, checksum: str | None = None) -> Applied:
    return Applied(
        version=migration.version,
        name=migration.name,
        checksum=checksum or migration.checksum,
    )


def test_only_what_is_missing_is_applied() -> None:
    assert plan_migrations("x", (ONE, TWO), ()) == (ONE, TWO)
    assert plan_migrations("x", (ONE, TWO), (applied(ONE),)) == (TWO,)
    assert plan_migrations("x", (ONE, TWO), (applied(TWO), applied(ONE))) == ()


def test_changed_file_is_refused() -> None:
    """A file that was applied with another content stops the run and is named."""
    with pytest.raises(DamagedError, match="0001_create_a"):
        plan_migrations("x", (ONE,), (applied(ONE, checksum="0"),))


def test_what_a_newer_release_added_is_left_alone() -> None:
    """The release before goes on on an expanded schema: during an upgrade, after a rollback."""
    assert plan_migrations("x", (ONE,), (applied(ONE), applied(TWO))) == ()


def test_what_a_newer_release_took_away_is_refused_by_those_who_use_it() -> None:
    """Only releases that know the migration it names can go on after a contraction."""
    gone = Migration(version=3, name="0003_contract_0002_drop_a", text="c")
    ledger = tuple(map(applied, (ONE, TWO, gone)))
    assert plan_migrations("x", (ONE, TWO), ledger) == ()
    with pytest.raises(UnmetError, match="0003_contract_0002_drop_a"):
        plan_migrations("x", (ONE,), ledger)
    assert compatible_since((ONE, TWO)) == 0
    assert compatible_since((ONE, TWO, gone)) == 2


def test_statements_end_at_line_ends() -> None:
    text = "-- why; because\nCREATE a;\n\nCREATE b\n  (';');\n"
    assert split_statements(text) == ("CREATE a", "CREATE b\n  (';')")


def test_every_clickhouse_statement_may_run_twice() -> None:
    """A killed run is finished by running the file again, so each statement is idempotent."""
    for migration in load_migrations("appliance.storage.clickhouse", "migrations"):
        for statement in split_statements(migration.text):
            assert re.match(
                r"(CREATE (TABLE|MATERIALIZED VIEW) IF NOT EXISTS |"
                r"ALTER TABLE \w+ ((ADD|DROP|MODIFY) (COLUMN|INDEX|PROJECTION) IF (NOT )?EXISTS "
                r"|MODIFY SETTING |MATERIALIZE PROJECTION ))",
                statement,
            ), statement.splitlines()[0]


def test_repair_view_is_the_feed_view() -> None:
    """What is repaired is computed by the same expression as what is fed."""
    views: dict[str, str] = {}
    for migration in load_migrations("appliance.storage.clickhouse", "migrations"):
        for statement in split_statements(migration.text):
            match = re.match(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO \w+ AS\n", statement)
            if match:
                views[match[1]] = statement[match.end() :]
    feeds = {name.removesuffix("_feed") for name in views if name.endswith("_feed")}
    assert len(feeds) == 5
    for name in feeds:
        repaired = (
            views[f"{name}_repair"]
            .replace("FROM events_repair", "FROM events")
            .replace(f"repair_target = '{name}'", "insert_block >= 0")
        )
        assert repaired == views[f"{name}_feed"]


@pytest.mark.parametrize("store", ["postgres", "clickhouse"])
def test_every_file_says_why(store: str) -> None:
    """The head comment says why, and what it locks."""
    for migration in load_migrations(f"appliance.storage.{store}", "migrations"):
        assert migration.text.startswith("-- Why: "), migration.name
        assert "\n-- Locks: " in migration.text, migration.name


def test_definitions_are_the_contract() -> None:
    """Streams and durable consumers carry the names of the contract [configuration 7]."""
    merged = merge_definitions(load_migrations("appliance.storage.streams", "definitions"))
    assert {one.name for one in merged.streams} == {
        *("events", "profiles", "compliance", "misc"),
        *("dlq-events", "dlq-profiles", "dlq-compliance", "dlq-misc"),
    }
    assert {(one.name, one.stream, one.subject) for one in merged.consumers} == {
        ("events-writer-durable", "events", None),
        ("profile-identify-processor-durable", "profiles", "profiles.identify"),
        ("profile-alias-processor-durable", "profiles", "profiles.alias"),
        ("profile-upsert-processor-durable", "profiles", "profiles.upsert"),
        ("compliance-erase-processor-durable", "compliance", "compliance.erase"),
        ("misc-email-processor", "misc", "misc.email.jobs"),
    }
    assert [one.name for one in merged.buckets if one.memory] == ["cookieless"]
