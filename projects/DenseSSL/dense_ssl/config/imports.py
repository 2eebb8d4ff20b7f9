"""IMPORTS: modules that are imported before the other keys of a config are read."""

import importlib
import importlib.util
import os
import sys

from detectron2.config import CfgNode

from .layers import yaml_layers


def import_modules(modules):
    """Import modules of IMPORTS, files by their paths."""
    for module in modules:
        _import(module)


def imports_of_yaml(config_file, trust=False):
    """Return the modules that a yaml and its ``_BASE_`` name in IMPORTS, the base's first.

    Args:
        config_file: yaml. trust: TRUST_CONFIGS.
    """
    return [
        entry
        for filename, values in yaml_layers(config_file, trust)
        for entry in entries_of(
            values.get("IMPORTS", ()), os.path.dirname(filename), f"in {filename}"
        )
    ]


def entries_of(value, folder, source):
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
