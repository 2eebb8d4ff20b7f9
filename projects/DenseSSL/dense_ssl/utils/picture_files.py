"""Writing pictures: cv2.imwrite returns False where it fails, and hides the reason."""

import os

import cv2
import numpy as np


def write_picture(path, pixels):
    """Write a picture in the format of its extension; missing folders are made.

    Args:
        path: of the file. pixels: uint8 (H, W, 3) in BGR.

    Raises:
        OSError: it cannot be written.
    """
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    _, data = cv2.imencode(os.path.splitext(path)[1], np.ascontiguousarray(pixels))
    with open(path, "wb") as file:
        file.write(data)
