"""Reading json files."""

import json


def read_object(path):
    """Return the object in a json file; {} if the file is missing, broken or has something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
