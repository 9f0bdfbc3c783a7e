"""Nothing acknowledged is lost, and all is accounted for (P1-P4), whatever happens to the engine.

Each seed is a small random flow and a random story: far sides that go away, hang and refuse, disks
that fill and fail, deploys, stops, kills at any turn of the event loop. `SIM_SEEDS` says how many
are played (200), `SIM_FIRST` which comes first, `SIM_STEPS` how long the stories are (40).
"""

import os
from pathlib import Path

import pytest

from tests.engine.simulation import run
from tests.engine.simulation_loop import Broken

FIRST = int(os.environ.get("SIM_FIRST", "0"))
SEEDS = int(os.environ.get("SIM_SEEDS", "200"))
STEPS = int(os.environ.get("SIM_STEPS", "40"))
AT_ONCE = 20


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, AT_ONCE))
def test_every_story_ends_with_every_message_where_it_belongs(first: int, tmp_path: Path) -> None:
    for seed in range(first, min(first + AT_ONCE, FIRST + SEEDS)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            run(seed, folder, STEPS)
        except Broken as err:
            again = f"SIM_FIRST={seed} SIM_SEEDS=1 SIM_STEPS={STEPS}"
            pytest.fail(
                f"{err}\nagain: {again} python -m pytest tests/engine/test_simulation.py", False
            )
