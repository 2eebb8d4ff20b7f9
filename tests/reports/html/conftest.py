"""The report needs packages that not every machine with a GPU has."""

import importlib.util

if importlib.util.find_spec("plotly") is None:
    collect_ignore_glob = ["test_*.py"]
