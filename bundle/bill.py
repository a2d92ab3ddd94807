"""The bill of materials (CycloneDX 1.6): every shipped file under the component it is of.

Invariant: the bill is made from the entries that are packed; it names each of them once. It has no
time but the release's date and no identity but what follows from its content.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component as BillComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from bundle.components import component
from bundle.owners import APPLIANCE
from bundle.places import BILL, MANIFEST, SIGNATURE, Entry
from bundle.source import Source


def bill_of_materials(
    source: Source, entries: Sequence[Entry], embedded: Iterable[str], *, date: int
) -> bytes:
    """The bytes of `sbom.cdx.json`; `embedded` are components inside the executable."""
    files: dict[str, list[BillComponent]] = defaultdict(list)
    for entry in entries:
        files[entry.component].append(_file(entry))
    # They describe each other, so none can hold the other's checksum.
    for name in (BILL, MANIFEST, SIGNATURE):
        files[APPLIANCE].append(
            BillComponent(name=name, type=ComponentType.FILE, bom_ref=f"file:{name}")
        )
    root = _component(APPLIANCE, files.pop(APPLIANCE), version=source.version)
    names = sorted(set(files) | set(embedded) - {APPLIANCE})
    parts = [_component(name, files.get(name, [])) for name in names]
    identity = hashlib.sha256(
        "\n".join(f"{entry.path} {entry.component}" for entry in entries).encode()
    ).hexdigest()
    bill = Bom(
        components=parts,
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(date, UTC)),
        serial_number=uuid5(NAMESPACE_URL, f"{source.version}/{source.release}/{identity}"),
    )
    bill.metadata.tools.components.clear()
    bill.register_dependency(root, parts)
    return (JsonV1Dot6(bill).output_as_string() + "\n").encode()


def _component(name: str, files: list[BillComponent], *, version: str = "") -> BillComponent:
    known = component(name)
    return BillComponent(
        name=name,
        version=version or known.version,
        type=ComponentType.APPLICATION if name == APPLIANCE else ComponentType.LIBRARY,
        bom_ref=f"component:{name}",
        purl=PackageURL.from_string(known.address),
        licenses=[LicenseFactory().make_from_string(known.licence)],
        components=files,
    )


def _file(entry: Entry) -> BillComponent:
    if entry.link is not None:
        return BillComponent(
            name=entry.path,
            type=ComponentType.FILE,
            bom_ref=f"file:{entry.path}",
            description=f"symbolic link to {entry.link}",
        )
    digest = hashlib.sha256(entry.read()).hexdigest()
    return BillComponent(
        name=entry.path,
        type=ComponentType.FILE,
        bom_ref=f"file:{entry.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
