"""The parts of gpu.py.

Each is a module with ``items(settings)``, which returns {name: function}. A function returns a row
of the part's table as a dict; its ``"ok"`` says whether it is as it should be (None where nothing
is required), and keys that begin with "_" are kept in the file alone.

The parts use the helpers of the tests: their methods, tiny networks and recorded runs.
"""

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path += [str(TESTS), str(TESTS / "engine")]
