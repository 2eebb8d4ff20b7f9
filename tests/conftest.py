import os
import signal

# before torch is imported: one thread per process, as several processes share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from helpers import photo, tiny_config
from isolation import restored_process
from process_pool import ProcessPool

from dense_ssl.scenes import SceneSpec, write_scenes


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep checks of data out of the user's cache."""
    os.environ["FVCORE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of 24 photo-like JPEGs of several sizes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(24):
        width, height = int(rng.integers(90, 200)), int(rng.integers(90, 200))
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), photo(rng, width, height))
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """The folder of 12 labelled scenes for training and 2 for evaluation."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSpec(), num_unlabeled=0, num_train=12, num_val=2)
    return folder


@pytest.fixture(scope="session")
def process_pool(tmp_path_factory):
    """Two processes that run picklable functions together; see :class:`ProcessPool`."""
    pool = ProcessPool(tmp_path_factory.mktemp("process_pool"))
    yield pool
    pool.stop()


@pytest.fixture
def pretrain_config(image_folder, tmp_path):
    """A function that returns the config of a tiny pre-training, with overrides as yacs pairs."""

    def build(method="SCRL", *options):
        return tiny_config(method, image_folder, tmp_path / "output", *options)

    return build


@pytest.fixture
def restore_catalogs(monkeypatch):
    """Remove the data sets that a test registers."""
    for catalog in (DatasetCatalog, MetadataCatalog):
        monkeypatch.setattr(catalog, "data", dict(catalog.data))


@pytest.fixture
def restore_process():
    """Restore what ``setup`` changes in the process."""
    with restored_process():
        yield


@pytest.fixture
def interruptible():
    """Let Ctrl-C reach the test, also where the suite runs in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
