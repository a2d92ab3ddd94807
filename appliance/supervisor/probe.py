"""Ask a component until it answers, within a time.

Invariant: only a protocol answer counts; a probe that hangs is cut off and asked again, and the
last reason is kept for the message. Racing the probe against the process is `tree.py`'s part.
"""

import asyncio
from typing import Final

from appliance.base.errors import ApplianceError
from appliance.supervisor.spec import Action

PROBE_SECONDS_MAX: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.02
PAUSE_SECONDS_MAX: Final = 0.25


async def ask(probe: Action, *, timeout_seconds: float = PROBE_SECONDS_MAX) -> str:
    """Ask once; empty when it answered, else why not."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await probe()
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} s"
    except ApplianceError as error:
        return error.message
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    except EOFError:
        return "the connection was closed"
    return ""


class Questioner:
    """Asks a probe again and again; `reason` is why it does not answer yet."""

    def __init__(self, probe: Action) -> None:
        self._probe = probe
        self.reason = ""

    async def until_answered(self) -> None:
        """Return when the probe passed; the caller bounds the time."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self.reason = await ask(self._probe)
            if not self.reason:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, PAUSE_SECONDS_MAX)
