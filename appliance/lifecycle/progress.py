"""What a long operation says while it works.

Invariant: an operation tells steps and amounts and never formats them; who shows them, and how, is
decided by the command line (`cli/progress.py`).
"""

from typing import Protocol


class Progress(Protocol):
    """The listener of one long operation."""

    def begin(self, step: str, title: str) -> None:
        """A step begins; `step` is its name in the journal, `title` a phrase for people."""
        ...

    def end(self, step: str, seconds: float) -> None:
        """The step has ended well."""
        ...

    def amount(self, done: int, total: int, unit: str = "bytes") -> None:
        """How far the step is; may be called often."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that is no step."""
        ...


class SilentProgress:
    """For callers that nobody watches."""

    def begin(self, step: str, title: str) -> None:
        del step, title

    def end(self, step: str, seconds: float) -> None:
        del step, seconds

    def amount(self, done: int, total: int, unit: str = "bytes") -> None:
        del done, total, unit

    def note(self, text: str) -> None:
        del text
