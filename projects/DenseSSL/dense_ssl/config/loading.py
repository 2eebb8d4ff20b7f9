"""Loading a config: first the modules that it names in IMPORTS, then its keys."""

import importlib
import importlib.util
import os
import sys

import torch
from detectron2.config import CfgNode

from .defaults import default_config

# MODEL.DEVICE of every config that is loaded and does not state another: "cuda" if there is a GPU,
# else "cpu". (Not the default of the key: stock configs keep detectron2's.) Apple's "mps" is not
# chosen, because detectron2's RoIAlign does not run on it.
DETECT = "detect"


def load_config(config_file="", options=()):
    """Return the config of a yaml with ``KEY VALUE`` pairs on top, its device detected.

    Arguments and errors as in :func:`read_config`.

    Returns:
        config, not frozen. MODEL.DEVICE is the one stated, else "cuda" if there is a GPU, or "cpu".
    """
    cfg = read_config(config_file, options)
    detect_device(cfg)
    return cfg


def detect_device(cfg):
    """Replace a MODEL.DEVICE of DETECT, in place; return True if it was that."""
    if cfg.MODEL.DEVICE != DETECT:
        return False
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    return True


def read_config(config_file="", options=()):
    """Return the config of a yaml with ``KEY VALUE`` pairs on top; MODEL.DEVICE may be DETECT.

    The modules that the yaml, its ``_BASE_`` and the options name in IMPORTS are imported before
    their other keys are read. They may register objectives, whose keys are then known,
    META_ARCHITECTUREs, backbones and data sets.

    Args:
        config_file: yaml; "" for the defaults.
        options: keys and values in turn, as on the command line.

    Returns:
        config, not frozen. Its IMPORTS lists all modules, files by their absolute paths.

    Raises:
        ImportError: a module of IMPORTS does not exist.
        KeyError: a key does not exist.
    """
    options = list(options)
    imports = imports_of_yaml(config_file) if config_file else []
    for position in range(0, len(options) - 1, 2):
        if options[position] == "IMPORTS":
            imports += _entries(options[position + 1], os.getcwd(), "on the command line")
    import_modules(imports)
    cfg = default_config()
    cfg.MODEL.DEVICE = DETECT
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        cfg.merge_from_list(options)
    except (KeyError, AssertionError) as error:  # yacs raises both for keys that do not exist
        if "Non-existent" not in str(error):
            raise
        raise KeyError(
            f"{error.args[0]}. Correct the key or, if it belongs to an objective of your own, name "
            "the objective's module in IMPORTS."
        ) from error
    cfg.IMPORTS = tuple(dict.fromkeys(imports))
    return cfg


def import_modules(modules):
    """Import modules of IMPORTS, files by their paths."""
    for module in modules:
        _import(module)


def imports_of_yaml(config_file):
    """Return the modules that a yaml and its ``_BASE_`` name in IMPORTS, the base's first."""
    found = []

    class Reader(CfgNode):
        @classmethod
        def load_yaml_with_base(cls, filename, allow_unsafe=False):
            # called for each _BASE_ as well, before its values are merged
            values = super().load_yaml_with_base(filename, allow_unsafe)
            found.extend(
                _entries(values.pop("IMPORTS", ()), os.path.dirname(filename), f"in {filename}")
            )
            return values

    Reader.load_yaml_with_base(config_file, allow_unsafe=True)
    return found


def _entries(value, folder, source):
    """Return the entries of IMPORTS as a list, files by their absolute paths."""
    value = CfgNode._decode_cfg_value(value)  # "('a', 'b')" as yacs reads it
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, (list, tuple)) or not all(isinstance(x, str) for x in entries):
        raise ValueError(
            f"IMPORTS {source} is {value!r}; it must be a list of modules or Python files."
        )
    return [_located(x, folder, source) for x in entries]


def _located(entry, folder, source):
    if not entry.endswith(".py"):
        return entry
    path = os.path.abspath(os.path.join(folder, os.path.expanduser(entry)))
    if not os.path.isfile(path):
        raise ImportError(f"IMPORTS {source} names {entry!r}, but {path} does not exist.")
    return path


def _import(module):
    if module.endswith(".py"):
        _import_file(module)
        return
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module exists, and something that it imports does not
        raise ImportError(
            f"IMPORTS names the module {module!r}, which does not exist. Install it, set "
            "PYTHONPATH to the folder that holds it, or give the path of a file, such as "
            f"'{module.replace('.', '/')}.py'."
        ) from error


def _import_file(path):
    """Import a file as the module of its name, once."""
    name = os.path.splitext(os.path.basename(path))[0]
    present = sys.modules.get(name)
    if present is not None:
        if getattr(present, "__file__", None) != path:
            raise ImportError(
                f"IMPORTS names {path}, but a module {name!r} is imported already, from "
                f"{getattr(present, '__file__', None)}: rename the file."
            )
        return
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
