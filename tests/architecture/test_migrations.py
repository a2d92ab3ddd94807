"""Migrations expand first and contract a release later (decision 0014, CONTRIBUTING)."""

import json
import re

import pytest

from appliance.storage.schema import CONTRACTION, Migration, load_migrations

FIRST_RELEASE = {"postgres": 4, "clickhouse": 6, "streams": 1}
"""The newest migrations of release 1, before which there was nothing to keep working."""
FOLDERS = {"postgres": "migrations", "clickhouse": "migrations", "streams": "definitions"}
TAKES_AWAY = re.compile(
    r"\b(DROP|RENAME|(?<!BEFORE )TRUNCATE|DETACH|SET\s+NOT\s+NULL"
    r"|(ALTER|MODIFY)\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE"
    r"|DELETE\s+FROM|REVOKE)\b",
    re.IGNORECASE,
)
REASON = re.compile(r"^-- contract: release [0-9]+ no longer uses .+", re.MULTILINE)
SINCE_FIRST = [
    (store, migration)
    for store, folder in FOLDERS.items()
    for migration in load_migrations(f"appliance.storage.{store}", folder)
    if migration.version > FIRST_RELEASE[store]
]


def problem(store: str, migration: Migration) -> str:
    """What is wrong with one migration of a release after the first; empty when nothing is."""
    text = "\n".join(line for line in migration.text.splitlines() if line[:2] != "--")
    takes = bool(TAKES_AWAY.search(text)) if store != "streams" else '"remove' in text
    contraction = CONTRACTION.fullmatch(migration.name)
    if takes and contraction is None:
        return "takes something away; call it NNNN_contract_MMMM_... a release later"
    if contraction is None:
        return ""
    if int(contraction["since"]) >= migration.version:
        return "names a migration that is not older"
    if store == "streams":
        return "" if json.loads(migration.text) is not None else "no definitions"
    return "" if REASON.search(migration.text) else "needs a line `-- contract: release N no longer"


@pytest.mark.parametrize(("store", "migration"), SINCE_FIRST)
def test_nothing_is_taken_from_the_release_before(store: str, migration: Migration) -> None:
    """The previous release goes on during an upgrade and after a rollback."""
    assert problem(store, migration) == ""


@pytest.mark.parametrize(
    ("name", "text", "sound"),
    [
        ("0005_add_note", "ALTER TABLE a ADD COLUMN note text;", True),
        ("0005_drop_note", "ALTER TABLE a DROP COLUMN note;", False),
        ("0005_rename_note", "ALTER TABLE a RENAME COLUMN note TO text;", False),
        ("0006_contract_0005_drop_note", "ALTER TABLE a DROP COLUMN note;", False),
        (
            "0006_contract_0005_drop_note",
            "-- contract: release 3 no longer uses a.note\nALTER TABLE a DROP COLUMN note;",
            True,
        ),
        ("0006_contract_0007_drop_note", "-- contract: release 3 no longer uses x\n", False),
    ],
)
def test_the_rule_tells_them_apart(name: str, text: str, sound: bool) -> None:
    migration = Migration(version=int(name[:4]), name=name, text=text)
    assert (problem("postgres", migration) == "") is sound


def test_the_first_release_is_what_it_was() -> None:
    """The baseline above is not moved to get around the rule."""
    for store, newest in FIRST_RELEASE.items():
        assert len(load_migrations(f"appliance.storage.{store}", FOLDERS[store])) >= newest
