"""The reader of images of both stages: all common formats as 8-bit RGB, or an error."""

import contextlib
import dataclasses
import io
import os
import stat
import struct

import cv2
import numpy as np
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.utils.file_io import PathManager
from PIL import ExifTags, Image, UnidentifiedImageError

from ..utils.native_messages import native_messages
from ..utils.printable import printable
from . import tar_members  # noqa: F401  registers its paths with PathManager
from .deep_images import PNG_START, TIFF_STARTS, forget_xmp, is_deep, read_deep, upright

# OpenCV 4.11 and later decode straight to RGB.
_DECODE_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)
# Values of EXIF's orientation of a picture that is shown with its sides exchanged.
QUARTER_TURNS = (5, 6, 7, 8)
_TIFF_SIZE = (256, 257)  # tags of the width and the height
# A JPEG stream ends with this marker; cameras may append a few bytes.
_JPEG_START, _JPEG_END, _TAIL = b"\xff\xd8", b"\xff\xd9", 64
# What libjpeg reports when it fills pixels up with grey. It also counts "extraneous bytes", which
# many cameras write and which change no pixel.
_JPEG_DAMAGE = ("premature end", "bad Huffman code", "RST", "bad progression", "bogus")
# The chunks that hold EXIF in PNG and WebP; not every OpenCV applies their orientation.
_EXIF_CHUNKS = {b"\x89PNG": b"eXIf", b"RIFF": b"EXIF"}


class BrokenImageError(OSError):
    """An image file that is missing, cut off, damaged or not an image."""


def read_image(path, channels="RGB"):
    """Read an image file.

    JPEG, PNG, WebP, BMP, TIFF; grey, palette, 1-bit, RGBA (alpha dropped) and CMYK images; images
    with more than 8 bits by the rule of :func:`~dense_ssl.data.deep_images.to_8_bits`. The EXIF
    orientation is applied.

    Args:
        path: file name, anything iopath's PathManager opens.
        channels: "RGB", "BGR", or any other INPUT.FORMAT of detectron2.

    Returns:
        uint8 (H, W, 3), contiguous in RGB. Other formats have detectron2's shape and type.

    Raises:
        BrokenImageError: names the file and the reason.
    """
    with _named_errors(path):
        with PathManager.open(str(path), "rb") as file:
            data = file.read()
        if not data:
            raise ValueError("the file is empty")
        image = _decode(data)
    if channels == "RGB":
        return image
    if channels == "BGR":
        return image[:, :, ::-1]
    return convert_PIL_to_numpy(Image.fromarray(image), channels)


@dataclasses.dataclass
class Header:
    """What the beginning of an image file says.

    Attributes:
        format: Pillow's name: "JPEG".
        width, height: in pixels, turned as EXIF says.
        is_turned: EXIF turns or mirrors it.
        mode: Pillow's, such as "RGB" or "I;16".
    """

    format: str
    width: int
    height: int
    is_turned: bool = False
    mode: str = ""


def read_header(path):
    """Read the header of an image file, and the end of a JPEG, without decoding it.

    Damage between them is found by :func:`read_image` alone.

    Returns:
        :class:`Header`.

    Raises:
        BrokenImageError: as :func:`read_image` does.
    """
    with _named_errors(path), PathManager.open(str(path), "rb") as file:
        try:
            with Image.open(file) as image:
                forget_xmp(image)
                # to look for EXIF behind the pixels of a PNG, Pillow would read them all
                has_exif = image.format != "PNG" or "exif" in image.info or _exif_follows(file)
                turn = image.getexif().get(ExifTags.Base.Orientation, 1) if has_exif else 1
                size = _stored_size(image)
                size = size[::-1] if turn in QUARTER_TURNS else size
                header = Header(image.format, *size, turn in range(2, 9), image.mode)
                if header.format == "JPEG" and _is_cut_off(file):
                    image.load()  # says so, if libjpeg finds no end either
                return header
        except (UnidentifiedImageError, OSError):
            pass
    # Pillow does not know some images that OpenCV reads
    height, width = read_image(path).shape[:2]
    return Header(str(path).rpartition(".")[2].upper(), width, height)


def _exif_follows(file):
    """Return True if a PNG has EXIF anywhere; the position in the file stays."""
    position, kind = file.tell(), b""
    file.seek(len(PNG_START))
    while kind not in (b"eXIf", b"IEND"):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        size, kind = struct.unpack(">I4s", chunk)
        file.seek(size + 4, io.SEEK_CUR)  # the data and their checksum
    file.seek(position)
    return kind == b"eXIf"


def _stored_size(image):
    """Return (width, height) as in the file; Pillow may have turned that of a TIFF already."""
    tags = getattr(image, "tag_v2", {})
    return tuple(tags.get(tag, side) for tag, side in zip(_TIFF_SIZE, image.size))


def _is_cut_off(file):
    file.seek(0, io.SEEK_END)
    file.seek(max(file.tell() - _TAIL, 0))
    is_cut_off = _JPEG_END not in file.read()
    file.seek(0)
    return is_cut_off


@contextlib.contextmanager
def _named_errors(path):
    """Turn errors of reading an image into BrokenImageErrors that name the file."""
    name = printable(path)
    try:
        _refuse_special(path)
        yield
    except BrokenImageError:
        raise
    except UnidentifiedImageError as error:  # its own text holds a memory address
        raise BrokenImageError(f"{name}: not an image of a known format") from error
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BrokenImageError(f"{name}: {reason}") from error


def _refuse_special(path):
    """Raise for a pipe, a socket or a device: reading it could wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # opening it says why
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError("a pipe, a socket or a device, not a file")


def _decode(data):
    """Decode the bytes of a file to uint8 (H, W, 3)."""
    image = None
    if is_deep(data):
        image = read_deep(data)
    elif data.startswith(_JPEG_START):
        image = _decode_jpeg(data)
    elif not data.startswith(TIFF_STARTS) and _EXIF_CHUNKS.get(data[:4], data) not in data:
        image = _decode_with_opencv(data)
    if image is not None:
        return image
    # TIFF, where OpenCV would multiply the colours with their alpha, and what OpenCV cannot read:
    # Pillow may, and it says what is wrong
    with Image.open(io.BytesIO(data)) as image:
        return np.ascontiguousarray(upright(image).convert("RGB"))


def _decode_jpeg(data):
    """Return the pixels of a JPEG; None if it has no end, where OpenCV may add grey."""
    if _JPEG_END not in data[-_TAIL:]:
        return None
    with native_messages(_JPEG_DAMAGE) as damage:
        image = _decode_with_opencv(data)
    if damage:
        raise ValueError(f"the file is damaged, parts of the picture are lost ({damage[0]})")
    return image


def _decode_with_opencv(data):
    """Decode to RGB with OpenCV; return None if it fails."""
    data = np.frombuffer(data, np.uint8)
    try:
        if _DECODE_RGB is not None:
            return cv2.imdecode(data, _DECODE_RGB)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
