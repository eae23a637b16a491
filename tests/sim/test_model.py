"""The model checker: small bounds are explored to their end, and deliberate breaks are found, with a story.

`make model` explores more. What a state is, and what is left out of it, is checked here too.
"""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.sim.mutants import OF_REPLICAS, patched
from tests.sim.mutants_map import OF_THE_MAP
from tests.sim.mutants_requests import OF_REQUESTS

from ringkeep.core.changes import step_on
from ringkeep.core.effects import Batch, Family
from ringkeep.sim.model import maps, projection
from ringkeep.sim.model.__main__ import main
from ringkeep.sim.model.bounds import CONFIGURATIONS, Bounds
from ringkeep.sim.model.disk import Disk
from ringkeep.sim.model.explore import Explorer
from ringkeep.sim.model.layout import State
from ringkeep.sim.model.machine import NUMBERS
from ringkeep.sim.model.story import story_of
from ringkeep.storage.memory import MemoryEngine

pytestmark = pytest.mark.sim
