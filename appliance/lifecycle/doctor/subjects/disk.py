"""Whether there is room, and for how long."""

from collections.abc import Iterator
from typing import Final

from appliance.base.units import Bytes
from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import DiskFacts, Facts, Subject

FREE_SHARE_MIN: Final = 0.10
INODES_SHARE_MIN: Final = 0.05
DAYS_WARNING: Final = 14
DAYS_NOTE: Final = 60
_RESERVES: Final = 2
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs"})
_STORES: Final = frozenset({"data", "PostgreSQL", "the queue", "events"})


def judge_free(facts: Facts) -> Iterator[Verdict]:
    if facts.disks is None:
        return
    reserve = int(facts.settings.disk.reserve)
    for disk in facts.disks.disks:
        free = f"{show(disk.free_bytes)} of {show(disk.total_bytes)} are free on {_name(disk)}"
        if _holds_stores(disk) and disk.free_bytes < reserve:
            yield failed(
                f"{free}, less than disk.reserve ({facts.settings.disk.reserve}): "
                "events are refused",
                "free space or enlarge the disk; events are taken again by themselves",
            )
        elif disk.free_bytes < max(_RESERVES * reserve, FREE_SHARE_MIN * disk.total_bytes):
            yield warning(free, "free space or enlarge the disk soon; see docs/sizing.md")
        else:
            yield ok(free)


def judge_growth(facts: Facts) -> Iterator[Verdict]:
    stores, disks = facts.stores, facts.disks
    if stores is None or disks is None or not stores.day_bytes or stores.clickhouse_external:
        return
    disk = next((one for one in disks.disks if "events" in one.holds), None)
    if disk is None:
        return
    room = max(disk.free_bytes - int(facts.settings.disk.reserve), 0)
    days = room // stores.day_bytes
    cause = f"events take {show(stores.day_bytes)} a day, which fits for {days} days"
    if days < DAYS_WARNING:
        yield warning(cause, "enlarge the disk, or move the event store; see docs/sizing.md")
    elif days < DAYS_NOTE:
        yield note(cause, "plan a larger disk; see docs/sizing.md")
    else:
        yield ok(cause)


def judge_inodes(facts: Facts) -> Iterator[Verdict]:
    if facts.disks is None:
        return
    for disk in facts.disks.disks:
        if not disk.inodes_total:
            continue
        share = disk.inodes_free / disk.inodes_total
        cause = f"{share:.0%} of the inodes of {_name(disk)} are free"
        if not disk.inodes_free:
            yield failed(cause, "remove small files; nothing can be written until then")
        elif share < INODES_SHARE_MIN:
            yield warning(
                cause, "remove small files, or make the file system anew with more inodes"
            )
        else:
            yield ok(cause)


def judge_writable(facts: Facts) -> Iterator[Verdict]:
    if facts.disks is None:
        return
    locked = [disk for disk in facts.disks.disks if disk.read_only and disk.holds != ("releases",)]
    for disk in locked:
        yield failed(
            f"{_name(disk)} is mounted read-only",
            "look for errors of the disk in `dmesg`, then mount it read-write",
        )
    if not locked:
        yield ok("every disk can be written")


def judge_kind(facts: Facts) -> Iterator[Verdict]:
    if facts.disks is None:
        return
    for disk in facts.disks.disks:
        if not _holds_stores(disk):
            continue
        if disk.kind in _VOLATILE:
            yield advice(
                facts,
                f"{_name(disk)} is memory ({disk.kind}): a reboot loses everything",
                "put data_dir on a disk",
            )
        elif disk.kind in _REMOTE:
            yield warning(
                f"{_name(disk)} is a network file system ({disk.kind})",
                "put data_dir on a local disk: a lost connection stops the stores",
            )
        else:
            yield ok(f"{_name(disk)} is a local file system ({disk.kind})")


def judge_ballast(facts: Facts) -> Iterator[Verdict]:
    disks = facts.disks
    if disks is None or not facts.running or disks.ballast_bytes is None:
        return
    if not disks.ballast_wanted_bytes:
        yield ok("no ballast is wanted")
    elif disks.ballast_bytes < disks.ballast_wanted_bytes:
        yield warning(
            "the ballast was given up because the disk was full, or there is no room for it",
            "free space; it is taken again by itself",
        )
    else:
        yield ok(f"a ballast of {show(disks.ballast_bytes)} is kept for a full disk")


def show(size: int) -> str:
    """A size in its largest unit, with one place."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return str(Bytes(size))


def _holds_stores(disk: DiskFacts) -> bool:
    return bool(_STORES & set(disk.holds))


def _name(disk: DiskFacts) -> str:
    return f"{disk.mount} ({', '.join(disk.holds)})"


CHECKS: Final = (
    Check(
        name="disk-free",
        subject=Subject.DISK,
        question="Is there enough free disk?",
        judge=judge_free,
    ),
    Check(
        name="disk-growth",
        subject=Subject.DISK,
        question="For how long does the disk last?",
        judge=judge_growth,
    ),
    Check(
        name="disk-inodes",
        subject=Subject.DISK,
        question="Can more files be made?",
        judge=judge_inodes,
    ),
    Check(
        name="disk-writable",
        subject=Subject.DISK,
        question="Can every disk be written?",
        judge=judge_writable,
    ),
    Check(
        name="disk-kind",
        subject=Subject.DISK,
        question="Do the stores lie on a local disk?",
        judge=judge_kind,
    ),
    Check(
        name="disk-ballast",
        subject=Subject.DISK,
        question="Is there something to give up when the disk is full?",
        judge=judge_ballast,
    ),
)
