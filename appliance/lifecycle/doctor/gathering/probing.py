"""Looking without being held up.

Invariant: whatever is looked at (a dead network mount, a FIFO with a file's name), the answer comes
within the deadline and the program can end: blocking work runs in threads nobody waits for at exit.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

Result = TypeVar("Result")
_FILE_BYTES_MAX: Final = 1 << 20


async def in_thread(work: Callable[[], Result]) -> Result:
    """The result of blocking work; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 it is raised where it is waited for
            problem = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, problem)

    # A thread of the event loop's pool would be waited for when the program ends.
    threading.Thread(target=run, name="doctor-probe", daemon=True).start()
    return await outcome


async def look_again(
    look: Callable[[], Awaitable[Result]],
    is_well: Callable[[Result], bool],
    *,
    looks_max: int,
    pause_seconds: float,
) -> Result:
    """What was seen, looked at again while it is not well, so that a moment is no illness."""
    seen = await look()
    for _ in range(looks_max - 1):
        if is_well(seen):
            break
        await asyncio.sleep(pause_seconds)
        seen = await look()
    return seen


def read_text(path: Path | str) -> str:
    """A small file of the kernel or of ours, stripped; empty when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_FILE_BYTES_MAX).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def read_number(path: Path | str) -> int | None:
    """The number in a small file; None when there is none."""
    text = read_text(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def parse_pairs(lines: Iterable[str], separator: str = "=") -> dict[str, str]:
    """Lines of a name and a value."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(separator)
        found[name] = value
    return found
