"""What PyInstaller is led to."""

import subprocess
import sys
from pathlib import Path

from bundle.freeze import brought_forward
from bundle.owners import owner

LOOK = (
    "import sys; sys.path.insert(0, sys.argv[1]); import multipart;"
    "print(multipart.__file__, hasattr(multipart, 'MultipartSegment'))"
)


def test_a_shadowed_module_is_found_before_the_package_of_its_name(tmp_path: Path) -> None:
    """As itself, not by the way of a package that needs its file; and it is known whose it is."""
    folder = brought_forward(brought_forward(tmp_path).parent)
    told = subprocess.run(
        [sys.executable, "-P", "-c", LOOK, str(folder)], check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(folder / "multipart.py"), "True"]
    assert owner(folder / "multipart.py") == "multipart"
