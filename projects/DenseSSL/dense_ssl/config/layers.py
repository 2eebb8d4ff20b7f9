"""What each file of a config states, before files are merged, and whether reading it runs code."""

import yaml
from detectron2.config import CfgNode

TRUST = "TRUST_CONFIGS"


def yaml_layers(config_file, trust=False):
    """Return [(file name, what it states without its ``_BASE_``)], bases first.

    Args:
        config_file: yaml. trust: TRUST_CONFIGS.

    Raises:
        ValueError: a file has a tag that runs code, and is not trusted.
    """
    found = []

    class Reader(CfgNode):
        @classmethod
        def load_yaml_with_base(cls, filename, allow_unsafe=False):
            # called for each _BASE_ as well
            values = read_yaml(super().load_yaml_with_base, filename, allow_unsafe)
            with cls._open_cfg(filename) as file:
                load = yaml.unsafe_load if allow_unsafe else yaml.safe_load
                found.append((filename, load(file) or {}))
            return values

    Reader.load_yaml_with_base(config_file, allow_unsafe=trust)
    return found


def read_yaml(read, filename, trust):
    """Return ``read(filename, trust)``, with an error that says why a file is refused.

    Raises:
        ValueError: the file has a tag of Python, such as ``!!python/object/apply``, which runs code
            when it is read, and is not trusted.
    """
    try:
        return read(filename, trust)
    except yaml.constructor.ConstructorError as error:
        raise ValueError(
            f"{filename}, line {error.problem_mark.line + 1}: {error.problem}. Such a tag runs "
            "code when the file is read. Write the value out; or, if you trust the file, add "
            f"{TRUST} True to the command line."
        ) from error


def is_trusted(options):
    """Return TRUST_CONFIGS of ``KEY VALUE`` pairs; a file cannot trust itself."""
    pairs = dict(zip(options[::2], options[1::2]))
    return CfgNode._decode_cfg_value(pairs.get(TRUST, False)) is True
