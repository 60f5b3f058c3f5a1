"""kill -9 at random moments of the work: 0 lost, 0 extra, every attempt explained. Invariant 14."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash import killing

IS_SOAK = bool(os.environ.get("TRADELOG_SOAK"))
SEEDS = range(1, 6) if IS_SOAK else range(1, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_over_and_over_nothing_is_lost_and_nothing_doubled(home: Path, seed: int) -> None:
    decisions, kills, faults = (500, 60, 80) if IS_SOAK else (60, 7, 10)
    result = killing.run(home, decisions=decisions, kills=kills, seed=seed, faults=faults)
    print(f"seed {seed}: {result}")
    assert (result.lost, result.extra, result.unexplained) == (0, 0, 0)
    assert result.kills == kills
