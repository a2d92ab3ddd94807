"""Documents that are made from the code must equal it."""

import re
import subprocess
import sys
from pathlib import Path

from appliance.cli.main import COMMANDS
from appliance.config.reference import render_manual

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_manual_is_current() -> None:
    """Run `pug-appliance config reference > docs/configuration.md` after a change."""
    assert (ROOT / "docs" / "configuration.md").read_text() == render_manual()


def test_notice_is_current() -> None:
    """Run `scripts/notice > NOTICE` after a change of the lock."""
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "notice"], check=True, capture_output=True, text=True
    )
    assert (ROOT / "NOTICE").read_text() == made.stdout


def test_every_command_is_in_the_manual() -> None:
    """docs/command-line.md has a heading for each command."""
    manual = (ROOT / "docs" / "command-line.md").read_text()
    headings = set(re.findall(r"^## `pug-appliance ([a-z-]+)", manual, flags=re.MULTILINE))
    assert headings == set(COMMANDS)


def test_decisions_are_numbered_without_gaps_and_short() -> None:
    """One page each, NNNN-title.md, from 0001 on."""
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert pages
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    assert [page.name for page in pages if len(page.read_text().splitlines()) > 90] == []
