"""A host that really writes files, in a folder of the test, and only notes commands and owners."""

from collections.abc import Callable
from pathlib import Path

from appliance.lifecycle.host import CommandResult, RealHost

Answer = Callable[[tuple[str, ...]], CommandResult]


def agree(argv: tuple[str, ...]) -> CommandResult:
    """Every command succeeds and says nothing."""
    del argv
    return CommandResult(status=0, output="", errors="")


class RecordingHost(RealHost):
    """Notes what it is asked in `commands`, `owners` and `users`; `answer` plays the tools."""

    def __init__(self, answer: Answer = agree) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.owners: dict[Path, str] = {}
        self.users: dict[str, tuple[str, ...]] = {}
        self._answer = answer

    async def run(
        self, *argv: str, timeout_seconds: float = 0, check: bool = True
    ) -> CommandResult:
        del timeout_seconds, check
        self.commands.append(argv)
        return self._answer(argv)

    def own(self, path: Path, owner: str) -> None:
        self.owners[path] = owner

    async def ensure_user(self, name: str, *, groups: tuple[str, ...] = ()) -> None:
        self.users[name] = groups

    async def remove_user(self, name: str) -> None:
        self.users.pop(name, None)
