"""What imports cannot say about the tree."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 500
# A module that is longer today. The list may only shrink.
LONGER: frozenset[str] = frozenset()


def modules(*rooms: str) -> list[Path]:
    """Our own modules below these rooms, generated code left out."""
    found = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    return [path for path in found if "gen" not in path.relative_to(ROOT).parts]


def test_the_domain_never_waits() -> None:
    """No async and no await under domain/."""
    waiting = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    found = [
        str(path)
        for path in modules("appliance/domain")
        if any(isinstance(node, waiting) for node in ast.walk(ast.parse(path.read_text())))
    ]
    assert found == []


def test_packages_have_empty_inits() -> None:
    """A package's name says what it is; nothing runs on import."""
    inits = [path for path in modules("appliance") if path.name == "__init__.py"]
    assert inits
    assert [str(path) for path in inits if path.read_text()] == []


def test_modules_are_short_and_say_what_they_are_for() -> None:
    """At most 500 lines, and a docstring at the top of each."""
    too_long, silent = set[str](), list[str]()
    for path in modules("appliance", "tests"):
        text = path.read_text()
        name = str(path.relative_to(ROOT))
        if len(text.splitlines()) > LINES_MAX:
            too_long.add(name)
        if text and ast.get_docstring(ast.parse(text)) is None:
            silent.append(name)
    assert too_long == LONGER
    assert silent == []


def test_rooms_have_sober_names() -> None:
    """No room for what nobody could place."""
    forbidden = {"util", "utils", "helper", "helpers", "common", "misc", "core", "manager"}
    names = {path.stem for path in modules("appliance")}
    names |= {part for path in modules("appliance") for part in path.relative_to(ROOT).parts}
    assert names & forbidden == set()
