"""Pictures are written, or an error says why not."""

import cv2
import numpy as np
import pytest

from dense_ssl.utils.picture_files import write_picture


def test_a_picture_is_what_was_written(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    write_picture(tmp_path / "new folder" / "ä.png", pixels[:, :, ::-1])
    data = np.fromfile(tmp_path / "new folder" / "ä.png", np.uint8)
    assert np.array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR), pixels[:, :, ::-1])


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    pixels = np.zeros((4, 4, 3), np.uint8)
    for path in (tmp_path / "file" / "a.png", tmp_path / ("long" * 99 + ".png")):
        with pytest.raises(OSError):
            write_picture(path, pixels)
