"""What each file of a config states, before files are merged."""

import yaml
from detectron2.config import CfgNode


def yaml_layers(config_file):
    """Return [(file name, what it states without its ``_BASE_``)], bases first."""
    found = []

    class Reader(CfgNode):
        @classmethod
        def load_yaml_with_base(cls, filename, allow_unsafe=False):
            # called for each _BASE_ as well
            values = super().load_yaml_with_base(filename, allow_unsafe)
            with cls._open_cfg(filename) as file:
                found.append((filename, yaml.unsafe_load(file) or {}))
            return values

    Reader.load_yaml_with_base(config_file, allow_unsafe=True)
    return found
