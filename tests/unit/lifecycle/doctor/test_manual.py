"""The manual has a row for every check, with its question, a cause and a remedy."""

from pathlib import Path

from appliance.lifecycle.doctor.catalogue import CHECKS

MANUAL = Path(__file__).resolve().parents[4] / "docs" / "doctor.md"


def rows() -> dict[str, list[str]]:
    """The cells of each row by the name of its check."""
    found: dict[str, list[str]] = {}
    for line in MANUAL.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `"):
            found[cells[0].strip("` ")] = [cell.strip(" |") for cell in cells[1:]]
    return found


def test_the_manual_has_a_row_for_every_check() -> None:
    assert {name: cells[0] for name, cells in rows().items()} == {
        check.name: check.question for check in CHECKS
    }


def test_every_row_tells_cause_and_remedy() -> None:
    for name, cells in rows().items():
        assert len(cells) == 3, name
        assert all(len(cell) > 10 for cell in cells), name
