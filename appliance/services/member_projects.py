"""Projects of one member, many at a time: for faces that ask about several things at once.

Invariant: what is not the member's is missing from the answer, whether it exists or not; ids that
no project can have never reach the database.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from appliance.storage.postgres.member_projects import (
    MemberProject,
    find_member_projects,
    list_member_projects,
)
from appliance.storage.postgres.pool import Postgres

ID_CHARACTERS_MAX: Final = 64


class MemberProjects:
    """Answers by customer; both methods raise UnavailableError."""

    def __init__(self, database: Postgres) -> None:
        self._database = database

    async def find(self, customer_id: str, project_ids: Sequence[str]) -> dict[str, MemberProject]:
        """Those of these projects the customer may see, by id."""
        possible = [each for each in project_ids if is_possible_id(each)]
        if not possible:
            return {}
        found = await find_member_projects(self._database, customer_id, possible)
        return {each.id: each for each in found}

    async def of_orgs(
        self, customer_id: str, org_ids: Sequence[str]
    ) -> Mapping[str, Sequence[MemberProject]]:
        """The projects of the customer's organisations by organisation, oldest first."""
        possible = [each for each in org_ids if is_possible_id(each)]
        grouped: dict[str, list[MemberProject]] = defaultdict(list)
        if possible:
            for each in await list_member_projects(self._database, customer_id, possible):
                grouped[each.org_id].append(each)
        return grouped


def is_possible_id(text: str) -> bool:
    """Whether one of our ids can look so."""
    return 0 < len(text) <= ID_CHARACTERS_MAX and text.isascii() and text.isalnum()
