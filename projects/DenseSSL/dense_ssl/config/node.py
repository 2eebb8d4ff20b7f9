"""The node at the root of a config: detectron2's, which also imports what IMPORTS names."""

import os

from detectron2.config import CfgNode

from .faults import as_floats
from .imports import entries_of, import_modules, imports_of_yaml
from .layers import TRUST, read_yaml
from .lengths import prefer_stated_iterations
from .objectives import add_objective_config

# Lists of names: a single one may be given without a tuple around it.
_LISTS = ("DATASETS.TRAIN", "DATASETS.TEST", "LOG.WRITERS")


class Config(CfgNode):
    """detectron2's config node, with additions, in a yaml and on the command line.

    The modules in IMPORTS are imported before the other keys are read, so that the keys of their
    objectives are known. DATASETS.TRAIN, DATASETS.TEST and LOG.WRITERS may be a plain string:
    ``DATASETS.TRAIN folder:/x`` means ``DATASETS.TRAIN "('folder:/x',)"``. On the command line,
    iterations replace the epochs of a yaml (:mod:`.lengths`). A yaml whose tags run code is refused
    unless TRUST_CONFIGS is True.
    """

    # yacs makes the nodes below in these two; they stay detectron2's, because it merges only nodes
    # of exactly the same class.
    @classmethod
    def _create_config_tree_from_dict(cls, dic, key_list):
        return CfgNode._create_config_tree_from_dict(dic, key_list)

    @classmethod
    def _decode_cfg_value(cls, value):
        return CfgNode._decode_cfg_value(value)

    @classmethod
    def load_yaml_with_base(cls, filename, allow_unsafe=False):
        values = read_yaml(super().load_yaml_with_base, filename, allow_unsafe)
        for key in _LISTS:
            node, _, name = key.partition(".")
            if name in (values.get(node) or {}):
                values[node][name] = as_tuple(values[node][name])
        return values

    def merge_from_file(self, cfg_filename, allow_unsafe=False):
        trust = allow_unsafe or self.get(TRUST, False)
        imports = self._import(imports_of_yaml(cfg_filename, trust))
        super().merge_from_file(cfg_filename, trust)
        self["IMPORTS"] = imports

    def merge_from_other_cfg(self, cfg_other):
        return super().merge_from_other_cfg(as_floats(cfg_other, self))

    def merge_from_list(self, cfg_list):
        pairs = list(cfg_list)
        for place in range(0, len(pairs) - 1, 2):
            if pairs[place] == "IMPORTS":
                found = entries_of(pairs[place + 1], os.getcwd(), "on the command line")
                pairs[place + 1] = self._import(found)
            if pairs[place] in _LISTS:
                pairs[place + 1] = as_tuple(pairs[place + 1])
            pairs[place + 1] = self._as_float(pairs[place], pairs[place + 1])
        return super().merge_from_list(prefer_stated_iterations(pairs))

    def _as_float(self, key, value):
        """Return a whole number as a float where the key has one; all else as it is."""
        decoded, node = CfgNode._decode_cfg_value(value), self
        for part in key.split("."):
            node = node.get(part) if isinstance(node, dict) else None
        return float(decoded) if type(decoded) is int and type(node) is float else value

    def _import(self, modules):
        """Import modules, add the keys of their objectives; return all IMPORTS, each once."""
        import_modules(modules)
        add_objective_config(self)
        return tuple(dict.fromkeys([*self.get("IMPORTS", ()), *modules]))


def as_tuple(value):
    """Return a value of DATASETS.TRAIN as a sequence; text is read as yacs reads it."""
    value = CfgNode._decode_cfg_value(value)
    if isinstance(value, str):
        return (value,) if value else ()
    return value
