"""A method in a file of its own, outside of the package, is trained as a user would."""

import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from helpers import ROOT, TINY

from dense_ssl.config import load_config
from dense_ssl.engine.setup import is_pretraining
from dense_ssl.modeling import OBJECTIVE_REGISTRY

EXAMPLE = ROOT / "docs/examples"
OWN = """
from detectron2.config import CfgNode as CN
from detectron2.modeling import META_ARCH_REGISTRY
from dense_ssl.modeling import OBJECTIVE_REGISTRY, Objective, Pretrainer

@OBJECTIVE_REGISTRY.register()
class {name}Objective(Objective):
    node, label = "{key}", "{key}"

    @classmethod
    def add_config(cls, cfg):
        cfg.MODEL.{key} = CN({{"WIDTH": 3}})

    def forward(self, views, passes):
        return {{}}
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write a module that registers an objective with keys of its own, and forget it afterwards."""
    registered, modules = dict(OBJECTIVE_REGISTRY._obj_map), set(sys.modules)

    def write(name, folder=tmp_path):
        folder.mkdir(parents=True, exist_ok=True)
        text = OWN.format(name=name.title().replace("_", ""), key=name.upper())
        (folder / f"{name}.py").write_text(text)
        return folder

    monkeypatch.setattr(OBJECTIVE_REGISTRY, "_obj_map", registered)
    yield write
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write_yaml(path, **values):
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_train_net_trains_it_from_its_folder(image_folder, tmp_path):
    """The file and the yaml of the docs, copied to another place, with the command of the docs."""
    folder = tmp_path / "my_repository"
    folder.mkdir()
    shutil.copy(EXAMPLE / "cell_byol.py", folder)
    text = (EXAMPLE / "cell_byol.yaml").read_text()
    (folder / "cell_byol.yaml").write_text(text.replace("../..", str(ROOT)))
    options = [*TINY, "MODEL.CELL_BYOL.HIDDEN_DIM", 16, "SOLVER.MAX_ITER", 3,
               "SOLVER.EPOCHS", 0, "SOLVER.WARMUP_EPOCHS", 0, "SOLVER.CHECKPOINT_EPOCHS", 0,
               "SOLVER.ACCUMULATE", 1, "INPUT.VIEWS.SIZE", (64,),
               "DATASETS.TRAIN", (f"folder:{image_folder}",),
               "OUTPUT_DIR", str(tmp_path / "output")]  # fmt: skip
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", "cell_byol.yaml"]
    run = subprocess.run([*command, *map(str, options)], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    trained = torch.load(tmp_path / "output/model_final.pth", weights_only=True)["model"]
    assert "objectives.CellBYOLObjective.target_projector.hidden.weight" in trained
    assert (tmp_path / "output/backbone.pkl").is_file()
    # config.yaml of the run trains it again, from anywhere
    dumped = yaml.unsafe_load((tmp_path / "output/config.yaml").read_text())
    assert list(dumped["IMPORTS"]) == [str(folder / "cell_byol.py")]


def test_keys_are_known_before_the_yaml_is_read(own_module, tmp_path):
    own_module("first_method", tmp_path / "base")
    own_module("second_method")
    write_yaml(tmp_path / "base/base.yaml", IMPORTS=["first_method.py"],
               MODEL={"FIRST_METHOD": {"WIDTH": 7}})  # fmt: skip
    own = {"IMPORTS": ["second_method.py"], "MODEL": {"SECOND_METHOD": {"WIDTH": 8}}}
    path = write_yaml(tmp_path / "child.yaml", _BASE_="base/base.yaml", **own)
    cfg = load_config(path, ["MODEL.FIRST_METHOD.WIDTH", 9])
    assert (cfg.MODEL.FIRST_METHOD.WIDTH, cfg.MODEL.SECOND_METHOD.WIDTH) == (9, 8)
    assert cfg.IMPORTS == (
        str(tmp_path / "base/first_method.py"), str(tmp_path / "second_method.py")
    )  # fmt: skip
    assert load_config(path).MODEL.FIRST_METHOD.WIDTH == 7  # imported once


@pytest.mark.parametrize("entry", ["third_method", "third_method.py"])
def test_the_command_line_names_modules_and_files(own_module, monkeypatch, entry):
    folder = own_module("third_method")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    options = ["IMPORTS", f"('{entry}',)", "MODEL.THIRD_METHOD.WIDTH", "5"]
    assert load_config("", options).MODEL.THIRD_METHOD.WIDTH == 5


@pytest.mark.parametrize("entry, message", [
    ("absent.py", r"IMPORTS in .*mine.yaml names 'absent.py', but .*absent.py does not exist"),
    ("absent_package.module", "IMPORTS names the module 'absent_package.module'"),
    ("torch.absent", "IMPORTS names the module 'torch.absent'"),
])  # fmt: skip
def test_a_missing_module_names_the_key(tmp_path, entry, message):
    with pytest.raises(ImportError, match=message):
        load_config(write_yaml(tmp_path / "mine.yaml", IMPORTS=[entry]))


def test_an_error_within_the_module_is_not_hidden(tmp_path):
    (tmp_path / "broken_method.py").write_text("import absent_of_broken_method")
    with pytest.raises(ModuleNotFoundError, match="absent_of_broken_method"):
        load_config(write_yaml(tmp_path / "mine.yaml", IMPORTS=["broken_method.py"]))
    assert "broken_method" not in sys.modules


def test_a_file_must_not_hide_another_module(tmp_path):
    (tmp_path / "torch.py").write_text("")
    with pytest.raises(ImportError, match="rename the file"):
        load_config(write_yaml(tmp_path / "mine.yaml", IMPORTS=["torch.py"]))


@pytest.mark.parametrize("imports", [3, {"a": 1}, [1]])
def test_imports_must_be_names(tmp_path, imports):
    with pytest.raises(ValueError, match="IMPORTS in .* must be a list"):
        load_config(write_yaml(tmp_path / "mine.yaml", IMPORTS=imports))


def test_an_unknown_key_or_architecture_points_at_imports(tmp_path):
    path = write_yaml(tmp_path / "mine.yaml", MODEL={"MY_METHOD": {"WIDTH": 1}})
    with pytest.raises(KeyError, match=r"MODEL.MY_METHOD.*IMPORTS"):
        load_config(path)
    with pytest.raises(KeyError, match=r"MODEL.MY_METHOD.*IMPORTS"):
        load_config("", ["MODEL.MY_METHOD.WIDTH", "1"])
    cfg = load_config("", ["MODEL.META_ARCHITECTURE", "MyMethod"])
    with pytest.raises(ValueError, match="MODEL.META_ARCHITECTURE is 'MyMethod'.*IMPORTS"):
        is_pretraining(cfg)
