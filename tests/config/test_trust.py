"""A yaml that would run code is refused, in whatever file of a config it is."""

import pytest

from dense_ssl.config import default_config, read_config
from dense_ssl.config.recipe import recipe_batch

CODE = 'OUTPUT_DIR: !!python/object/apply:os.path.join ["a", "b"]\n'


@pytest.fixture
def files(tmp_path):
    (tmp_path / "base.yaml").write_text(CODE)
    (tmp_path / "top.yaml").write_text('_BASE_: "base.yaml"\nTRUST_CONFIGS: True\n')
    return tmp_path


@pytest.mark.parametrize("name", ["base.yaml", "top.yaml"])
def test_a_tag_of_python_is_refused(files, name):
    path = str(files / name)
    for read in (read_config, recipe_batch, default_config().merge_from_file):
        with pytest.raises(ValueError, match="base.yaml, line 1.*python/obj.*TRUST_CONFIGS"):
            read(path)


def test_the_command_line_may_trust_it(files):
    path, options = str(files / "top.yaml"), ["TRUST_CONFIGS", "True"]
    assert read_config(path, options).OUTPUT_DIR == "a/b"
    assert recipe_batch(path, options) == 16
    with pytest.raises(ValueError, match="TRUST_CONFIGS"):
        read_config(path, ["TRUST_CONFIGS", "False"])


def test_nothing_runs_before_it_is_refused(tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "bad.yaml"
    path.write_text(f'OUTPUT_DIR: !!python/object/apply:os.mkdir ["{mark}"]\n')
    with pytest.raises(ValueError, match="TRUST_CONFIGS"):
        read_config(str(path))
    assert not mark.exists()
