"""`dashboard.projects.v1.ProjectsService`: projects and API keys [services 6.3].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.dashboard.projects.v1.projects_connect import ProjectsService
from appliance.services.control import ControlPlane


class Projects(ProjectsService):
    """Projects and their keys."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
