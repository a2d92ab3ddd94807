"""One stage of a long operation, told to whoever watches."""

from collections.abc import Generator
from contextlib import contextmanager

from appliance.base.clock import Clock
from appliance.lifecycle.progress import Progress


@contextmanager
def stage(progress: Progress, clock: Clock, step: str, title: str) -> Generator[None]:
    """Tell begin and end of what happens inside; a failure has no end."""
    began = clock.monotonic_seconds()
    progress.begin(step, title)
    yield
    progress.end(step, clock.monotonic_seconds() - began)
