"""What each file of a config states, before files are merged, and whether reading it runs code."""

import yaml
from detectron2.config import CfgNode

TRUST = "TRUST_CONFIGS"


def yaml_layers(config_file, trust=False):
    """Return [(file name, what it states without its ``_BASE_``)], bases first.

    Args:
        config_file: yaml. trust: TRUST_CONFIGS.

    Raises:
        ValueError: a file has a tag that runs code, and is not trusted; or it has no keys.
    """
    found = []

    class Reader(CfgNode):
        @classmethod
        def load_yaml_with_base(cls, filename, allow_unsafe=False):
            # called for each _BASE_ as well
            stated = read_yaml(cls._parse, filename, allow_unsafe)
            if not isinstance(stated, dict):
                raise ValueError(
                    f"{filename} must hold keys and values, as in SOLVER: {{BASE_LR: 0.1}}; it "
                    f"holds {'nothing' if stated is None else repr(stated)[:60]}."
                )
            values = super().load_yaml_with_base(filename, allow_unsafe)
            found.append((filename, stated))
            return values

        @classmethod
        def _parse(cls, filename, trust):
            with cls._open_cfg(filename) as file:
                return (yaml.unsafe_load if trust else yaml.safe_load)(file)

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
