"""Which release this is. Written by the build, read by everybody."""

from typing import Final

RELEASE: Final = "0.1.0"
RELEASE_NUMBER: Final = 1
