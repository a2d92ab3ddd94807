"""Nothing in the shared vectors goes unnoticed."""

from tests.support.vectors import DEVIATIONS, SERVED, UNSERVED, load_sections


def test_every_section_is_served_or_listed_with_a_reason() -> None:
    assert set(load_sections()) == set(SERVED) | set(UNSERVED)
    assert not set(SERVED) & set(UNSERVED)


def test_every_case_has_known_keys_only() -> None:
    strange = {
        (section, key)
        for section, known in SERVED.items()
        for case in load_sections()[section]
        for key in set(case) - known
    }
    assert not strange


def test_ids_are_unique_inside_a_section() -> None:
    for section, cases in load_sections().items():
        ids = [case["id"] for case in cases if "id" in case]
        assert len(ids) == len(set(ids)), section


def test_every_deviation_names_a_case() -> None:
    for section, case_id in DEVIATIONS:
        assert case_id in {case.get("id") for case in load_sections()[section]}
