"""Reading images of all common formats as 8-bit RGB."""

import io

import cv2
import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

_TIFF_STARTS = (b"II*\0", b"MM\0*")
# OpenCV 4.11 and later decode straight to RGB.
_DECODE_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
# A JPEG stream ends with this marker; cameras may append a few bytes.
_JPEG_START, _JPEG_END, _TAIL = b"\xff\xd8", b"\xff\xd9", 64


class BrokenImageError(OSError):
    """An image file that is missing, cut off or not an image."""


def read_image(path):
    """Read an image file.

    JPEG, PNG, WebP, BMP, TIFF; grey, palette, RGBA (alpha dropped), CMYK and 16-bit images; the
    EXIF orientation is applied.

    Args:
        path: file name, anything iopath's PathManager opens.

    Returns:
        uint8 (H, W, 3), RGB, contiguous.

    Raises:
        BrokenImageError: names the file and the reason.
    """
    try:
        with PathManager.open(str(path), "rb") as file:
            data = file.read()
    except OSError as error:
        raise BrokenImageError(f"{path}: {error.strerror or error}") from error
    if not data:
        raise BrokenImageError(f"{path}: the file is empty")
    if data.startswith(_TIFF_STARTS):  # OpenCV would multiply the colours with their alpha
        try:
            return _read_with_pillow(path, data)
        except BrokenImageError:
            pass  # 16 bits per colour, which Pillow cannot read; or broken, which OpenCV reports
    image = None if _is_cut_off(data) else _decode(np.frombuffer(data, np.uint8))
    if image is None:  # Pillow may read what OpenCV cannot; it also says what is wrong
        return _read_with_pillow(path, data)
    return image


def _decode(data):
    """Decode to RGB with OpenCV; return None if it fails."""
    try:
        if _DECODE_RGB is not None:
            return cv2.imdecode(data, _DECODE_RGB)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _is_cut_off(data):
    """Return True if a JPEG has no end; OpenCV would fill the rest with grey without an error."""
    return data.startswith(_JPEG_START) and _JPEG_END not in data[-_TAIL:]


def _read_with_pillow(path, data):
    try:
        with Image.open(io.BytesIO(data)) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bit: keep the high byte, as OpenCV does
                high = np.asarray(image).astype(np.int64) >> 8
                image = Image.fromarray(high.clip(0, 255).astype(np.uint8))
            return np.ascontiguousarray(image.convert("RGB"))
    except UnidentifiedImageError as error:  # its own text holds a memory address
        raise BrokenImageError(f"{path}: not an image of a known format") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{path}: {error}") from error
