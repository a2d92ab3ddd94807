"""Whether there is memory enough, and nobody was killed for lack of it."""

from collections.abc import Iterator
from typing import Final

from appliance.lifecycle.doctor.check import Check, Verdict, advice, failed, note, ok, warning
from appliance.lifecycle.doctor.facts import Facts, Subject
from appliance.lifecycle.doctor.subjects.disk import show

AVAILABLE_MIN: Final = 256 << 20
AVAILABLE_SHARE_MIN: Final = 0.10
TOTAL_MIN: Final = 1536 << 20
SWAP_SHARE_MIN: Final = 0.10
_NEVER_OVERCOMMIT: Final = 2


def judge_available(facts: Facts) -> Iterator[Verdict]:
    memory = facts.memory
    if memory is None or not memory.total_bytes:
        return
    cause = f"{show(memory.available_bytes)} of {show(memory.total_bytes)} memory are available"
    if memory.available_bytes < AVAILABLE_MIN:
        yield failed(cause, "stop other programs or give the machine more memory")
    elif memory.available_bytes < AVAILABLE_SHARE_MIN * memory.total_bytes:
        yield warning(cause, "lower clickhouse.memory_bytes_max or give the machine more memory")
    elif memory.total_bytes < TOTAL_MIN:
        yield warning(cause, "give the machine 2 GiB or more; see docs/sizing.md")
    else:
        yield ok(cause)


def judge_kills(facts: Facts) -> Iterator[Verdict]:
    memory = facts.memory
    if memory is None:
        return
    for unit, count in memory.unit_kills.items():
        yield warning(
            f"the kernel killed processes of {unit} for lack of memory ({count} since its start)",
            "lower clickhouse.memory_bytes_max, or raise the unit's MemoryMax with more memory",
        )
    if memory.kernel_kills and not memory.unit_kills:
        yield note(
            f"the kernel killed {memory.kernel_kills} processes for lack of memory since boot",
            "see `journalctl -k | grep -i 'out of memory'` whether one of ours was among them",
        )
    elif not memory.unit_kills:
        yield ok("the kernel killed nobody for lack of memory")


def judge_swap(facts: Facts) -> Iterator[Verdict]:
    memory = facts.memory
    if memory is None:
        return
    if not memory.swap_total_bytes:
        yield ok("there is no swap, so nothing of memory lands on a disk")
    elif memory.swap_free_bytes < SWAP_SHARE_MIN * memory.swap_total_bytes:
        yield warning("the swap is nearly full", "stop other programs or add memory")
    elif memory.swap_encrypted is False:
        yield advice(
            facts,
            f"the swap ({', '.join(memory.swap_devices)}) is not encrypted: personal data of "
            "memory can land there",
            "encrypt the swap, or switch it off with `swapoff -a`",
        )
    else:
        yield ok("the swap is encrypted")


def judge_overcommit(facts: Facts) -> Iterator[Verdict]:
    if facts.memory is None:
        return
    if facts.memory.overcommit == _NEVER_OVERCOMMIT:
        yield warning(
            "vm.overcommit_memory is 2: the engines reserve more than they use and may be refused",
            "run `sysctl vm.overcommit_memory=0` and keep it in /etc/sysctl.d",
        )
    else:
        yield ok(f"vm.overcommit_memory is {facts.memory.overcommit}")


CHECKS: Final = (
    Check(
        name="memory-available",
        subject=Subject.MEMORY,
        question="Is there enough memory?",
        judge=judge_available,
    ),
    Check(
        name="memory-kills",
        subject=Subject.MEMORY,
        question="Did the kernel kill somebody for lack of memory?",
        judge=judge_kills,
    ),
    Check(
        name="swap",
        subject=Subject.MEMORY,
        question="Can personal data land on an unencrypted swap?",
        judge=judge_swap,
    ),
    Check(
        name="overcommit",
        subject=Subject.MEMORY,
        question="May the engines reserve memory?",
        judge=judge_overcommit,
    ),
)
