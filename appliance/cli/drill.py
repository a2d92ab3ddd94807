"""The rehearsed power cut of every lifecycle command: `PUG_DRILL=step.begun|done|undoing|undone`.

Invariant: without the variable nothing happens.
"""

from appliance.config.sources import DRILL_VARIABLE, process_environment
from appliance.lifecycle.runner import Drill, no_drill, power_cut


def chosen_drill() -> Drill:
    """The drill this process was asked for."""
    place = process_environment().get(DRILL_VARIABLE, "")
    return power_cut(place) if place else no_drill
