"""Who waits for whom: the order of starting and, reversed, of stopping.

Invariant: every level needs only earlier levels; a need that does not exist and a knot are bugs of
the topology and assert. Pure.
"""

from collections.abc import Mapping


def start_levels(needs: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Components in groups that may start together, first group first."""
    for name, wanted in needs.items():
        unknown = [other for other in wanted if other not in needs]
        assert not unknown, f"{name} needs unknown {unknown}"
    levels: list[tuple[str, ...]] = []
    placed: set[str] = set()
    while len(placed) < len(needs):
        level = tuple(
            name for name in needs if name not in placed and placed.issuperset(needs[name])
        )
        assert level, f"a knot among {sorted(set(needs) - placed)}"
        levels.append(level)
        placed.update(level)
    return tuple(levels)


def stop_levels(needs: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Components in groups that may stop together: nobody stops before those that need it."""
    return tuple(reversed(start_levels(needs)))
