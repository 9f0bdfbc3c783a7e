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
FOUND = {
    3039: "the second of two ways into a sink is no repeat of the first",
    2183: "a wire's spool keeps its order on a failing disk",
    3033: "the same",
    8660: "what only the page cache has after a failed fsync is not believed",
    6691: "a cursor that waited for a cut is written soon after it",
    20531: "a message that reaches a state by two ways is known twice",
    20257: "a spill wire that is put back has its spool open still",
    30375: "a cut waits for every branch, also where another entered a state",
    40215: "a sink made anew goes on with what its former self had read",
    204359: "what a failed disk left in memory alone is not dropped as old",
    60136: "nothing counts as spooled where nothing waits",
}
"""Stories that once found a fault, each of which finds it again when it is put back."""


@pytest.mark.parametrize("seed", FOUND)
def test_a_story_that_once_found_a_fault_ends_well(seed: int, tmp_path: Path) -> None:
    run(seed, tmp_path)


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
