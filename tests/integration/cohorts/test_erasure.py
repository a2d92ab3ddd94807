"""An erased person is on no list any more (docs/erasure.md)."""

from pathlib import Path

import pytest

from appliance.config.model import Settings
from appliance.domain.people.erasure import ErasureStatus
from appliance.storage.postgres.person_rows import list_person_rows
from tests.support.erasure_stage import OPERATOR, open_erasure_stage

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def test_lists_lose_every_id_of_an_erased_person(engines: Settings, tmp_path: Path) -> None:
    """Alias, external id and profile id go from all lists; others stay, also in other projects."""
    async with open_erasure_stage(engines, tmp_path / "erasures") as stage:
        await stage.add_profile("P1", "e1")
        await stage.add_alias("anon-a", "P1", "e1")
        await stage.add_events([("anon-a", "s1"), ("other", "s2")])
        next_door = await stage.jobs.make_project(await stage.jobs.make_org())
        lists = {"L1": stage.project, "L2": stage.project, "L3": next_door}
        for name, project in lists.items():
            await stage.database.execute(
                "INSERT INTO cohorts (id, project_id, display_name) VALUES ($1, $2, $1)",
                *(name, project),
            )
            for distinct_id in ("anon-a", "e1", "P1", "other"):
                await stage.database.execute(
                    "INSERT INTO cohort_ids (cohort_id, project_id, distinct_id)"
                    " VALUES ($1, $2, $3)",
                    *(name, project, distinct_id),
                )
        shown = [
            line async for line in list_person_rows(stage.database, stage.project, ["anon-a", "e1"])
        ]
        assert sum(b'"record": "listed"' in line for line in shown) == 4

        accepted = await stage.service.delete_person(stage.project, "anon-a", actor=OPERATOR)
        await stage.eraser().erase(accepted.request_id)
        view = await stage.view(accepted.request_id)
        assert view.status is ErasureStatus.COMPLETED
        rows = await stage.database.rows(
            "SELECT cohort_id, array_agg(distinct_id ORDER BY distinct_id) AS ids"
            " FROM cohort_ids GROUP BY cohort_id"
        )
        left = {row["cohort_id"]: row["ids"] for row in rows}
        assert left == {"L1": ["other"], "L2": ["other"], "L3": ["P1", "anon-a", "e1", "other"]}
