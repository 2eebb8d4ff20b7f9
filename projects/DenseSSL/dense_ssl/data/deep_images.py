"""Images with more than 8 bits per value: which formats have them, and how they become 8 bits."""

import io
import struct

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_START = b"\x89PNG\r\n\x1a\n"
# PGM, PFM and JPEG 2000: of colours they give 8 bits
_DEEP_GREY = (b"P2", b"P5", b"Pf", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
_PNG_DEPTH = 24  # position of the bit depth in the header
# What cameras, microscopes and scanners record.
DEPTHS = (8, 10, 12, 14, 16)
# Where Pillow keeps XMP
_XMP = ("xmp", "XML:com.adobe.xmp")
# Tags of TIFF
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO, _SAMPLE_FORMAT, _FLOAT = 258, 262, 0, 339, 3


def to_8_bits(values):
    """Bring deep pixel values to 8 bits by a scale that depends on their largest value alone.

    Integers: divided by 2^(B - 8) and rounded down, with B the smallest of 8, 10, 12, 14 and 16
    bits that holds the largest value of the image. Floats whose largest value is at most 1 are
    multiplied by 255 and rounded; others are rounded and treated as integers.

    Args:
        values: array of integers or floats.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: a value is negative, above 65535 or not finite.
    """
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("some values are NaN or infinite; give every pixel a value")
    if low < 0 or high > 2 ** DEPTHS[-1] - 1:
        raise ValueError(
            f"its values go from {low:g} to {high:g}, which is neither 0 to 1 nor 0 to 65535; "
            "rescale them to 8 or 16 bits"
        )
    if values.dtype.kind == "f":
        values = np.rint(values * 255 if high <= 1 else values).astype(np.int64)
        high = values.max()
    depth = next(x for x in DEPTHS if high < 2**x)
    return (values >> (depth - 8)).astype(np.uint8)


def is_deep(data):
    """Return True if a file has more than 8 bits per value that Pillow or OpenCV read as such."""
    if data.startswith(PNG_START):
        return data[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"
    if data.startswith(_DEEP_GREY):
        return _mode(data)[0] in "IF"
    if not data.startswith(TIFF_STARTS):
        return False
    tags = _tiff_tags(data)
    depths, formats = (np.atleast_1d(tags.get(x, 1)) for x in (_BITS, _SAMPLE_FORMAT))
    return max(depths) > 8 or _FLOAT in formats


def read_deep(data):
    """Decode a file of :func:`is_deep`.

    Returns:
        uint8 (H, W, 3), RGB, contiguous; the EXIF orientation is applied. None if OpenCV and Pillow
        cannot decode it.

    Raises:
        OSError, ValueError, SyntaxError: from Pillow or :func:`to_8_bits`.
    """
    values = _grey_values(data)
    if values is None:
        values = _colour_values(data)
    if values is None:
        return None
    pixels = to_8_bits(values)
    if data.startswith(TIFF_STARTS) and _tiff_tags(data).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _mode(data):
    """Return Pillow's mode of an image, such as "L" or "I;16"; "?" if it cannot read it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode
    except (OSError, SyntaxError, ValueError):
        return "?"


def _grey_values(data):
    """Return (H, W, 1) of a grey image, read by Pillow; None if it has colours."""
    try:
        image = Image.open(io.BytesIO(data))
    except OSError:  # Pillow does not know colours of 16 bits in TIFF
        return None
    if image.mode[0] not in "IF":
        return None
    return np.asarray(upright(image))[..., None]


def _colour_values(data):
    """Return (H, W, 1 or 3) in RGB, without alpha, read by OpenCV; None if it cannot read it."""
    flags = cv2.IMREAD_UNCHANGED
    if data.startswith(PNG_START):  # with alpha or not; it turns only what it may change
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if values is None:
        return None
    return values[..., None] if values.ndim == 2 else values[..., 2::-1]


def upright(image):
    """Return a PIL image, decoded and turned as its EXIF orientation says."""
    forget_xmp(image)
    image.load()  # TIFF files are turned here; their orientation must not be read before
    forget_xmp(image)  # that of a PNG may follow its pixels
    return ImageOps.exif_transpose(image)


def forget_xmp(image):
    """Leave the orientation of a PIL image to EXIF: OpenCV knows no other, Pillow takes XMP's."""
    for key in _XMP:
        image.info.pop(key, None)
    if image.format in ("JPEG", "MPO"):  # Pillow has read both already, for the resolution
        stated = Image.Exif()
        stated.load(image.info.get("exif", b""))
        if ExifTags.Base.Orientation not in stated:
            image.getexif().pop(ExifTags.Base.Orientation, None)


def rgb_of_pil(image):
    """Return a PIL image as uint8 (H, W, 3) in RGB, upright; for deep values :func:`to_8_bits`."""
    image = upright(image)
    if image.mode[0] in "IF":
        return np.repeat(to_8_bits(np.asarray(image))[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _tiff_tags(data):
    """Return the tags of the first image of a TIFF file; {} if they cannot be read."""
    try:
        tags = ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return {}
