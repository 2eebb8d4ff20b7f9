"""What is wrong with a config that yacs cannot read, in the words of a user."""

import contextlib
import re

import yaml

from ..utils.checks import nearest, value_of
from .flat import flatten

_TYPES = {bool: "True or False", int: "a whole number", float: "a number", str: "text",
          tuple: "several values", list: "several values", type(None): "nothing"}  # fmt: skip
_MISMATCH = re.compile(r"Type mismatch .* for config key: (\S+)$", re.DOTALL)
_VALUES = re.compile(r"Type mismatch \(<class '.*?'> vs\. <class '(.*?)'>\) with values \(")


@contextlib.contextmanager
def reworded(cfg, source):
    """Within it a config is read; errors of yacs and yaml then name key, value and fix.

    Args:
        cfg: config that is read into.
        source: where the keys come from: "the command line" or a file.
    """
    try:
        yield
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(
            f"{source}{line}: no valid yaml ({getattr(error, 'problem', None) or error}). Check "
            "indentation, quotes and brackets there."
        ) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        if error.filename is None:
            raise
        raise type(error)(
            f"{error.filename}: {error.strerror}. It should be a yaml, such as those in configs/; "
            "a _BASE_ is relative to the file that names it."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is no text in UTF-8 ({error}): is it a yaml?") from error
    except (KeyError, AssertionError) as error:  # yacs raises both for keys that do not exist
        text = str(error.args[0]) if error.args else ""
        if "odd length" in text:
            raise ValueError(
                "After the options of the command line come pairs, KEY VALUE KEY VALUE ...; one "
                "key has no value, or a value with blanks has no quotes."
            ) from error
        if "Non-existent" in text:
            key = text.rpartition(" ")[2]
            raise KeyError(
                f"{text}.{nearest(key, [x for x, _ in flatten(cfg)])} Correct the key or, if it "
                "belongs to an objective of your own, name the objective's module in IMPORTS."
            ) from error
        raise
    except ValueError as error:
        found = _MISMATCH.match(str(error))
        if not found:
            raise
        raise ValueError(_mismatch(cfg, found[1], str(error))) from error


def _mismatch(cfg, key, text):
    old = value_of(cfg, key)
    given = text.split(" vs. ")[-1].split(") for config key")[0]
    shape = _VALUES.match(text)
    given = repr(given) if shape and shape[1] == "str" else given
    if isinstance(old, dict):
        return f"{key} is {given}, but it is a group of keys, such as {key}.{next(iter(old))}."
    kind = _TYPES.get(type(old), type(old).__name__)
    example = f"{key} {old!r}"
    if isinstance(old, (list, tuple)):
        example = f'{key} "{tuple(old)}"' if old else f'{key} "({given},)"'
    return f"{key} is {given}; it must be {kind}, such as: {example}"


def as_floats(values, defaults):
    """Return a nested dict with whole numbers as floats where ``defaults`` has floats.

    yacs refuses ``BASE_LR: 1``.
    """
    result = values
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(defaults.get(key), dict):
            as_floats(value, defaults[key])
        elif type(value) is int and type(defaults.get(key)) is float:
            result[key] = float(value)
    return result
