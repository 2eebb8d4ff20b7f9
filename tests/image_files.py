"""Image files of every kind that users have, generated, with the pixels that are right."""

import io
import struct

import cv2
import numpy as np
from helpers import photo
from PIL import Image

SIDE = 48
PIXELS = photo(np.random.default_rng(0), SIDE, SIDE)
GREY = PIXELS[..., 1]
ORIENTATION = 0x0112  # EXIF


def encode(image, form, **options):
    """Encode an array or PIL image with Pillow."""
    data = io.BytesIO()
    image = image if hasattr(image, "save") else Image.fromarray(image)
    image.save(data, form, **options)
    return data.getvalue()


def encode_deep(values, extension):
    """Encode (H, W, 3 or 4) in RGB, deeper than Pillow writes, with OpenCV."""
    order = [2, 1, 0, 3][: values.shape[2]]
    ok, data = cv2.imencode(extension, np.ascontiguousarray(values[..., order]))
    assert ok
    return data.tobytes()


def turned(image, form, orientation, **options):
    """Encode with an EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, form, exif=exif, **options)


def turned_in_tiff_alone(pixels, orientation):
    """A TIFF whose orientation is a plain tag, as scanners write it."""
    return encode(pixels, "TIFF", tiffinfo={ORIENTATION: orientation})


def in_grey(values):
    """(H, W) as three channels."""
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def wide(bits, seed=1, shape=(SIDE, SIDE)):
    """Values of all of ``bits`` bits in 16, the largest one among them."""
    values = np.random.default_rng(seed).integers(0, 2**bits, shape).astype(np.uint16)
    values.flat[0] = 2**bits - 1
    return values


def image_kinds():
    """Return {name: (bytes of the file, its right pixels (H, W, 3), or None where it is lossy)}."""
    rgb = Image.fromarray(PIXELS)
    alpha = np.random.default_rng(2).integers(0, 256, GREY.shape, dtype=np.uint8)
    rgba = Image.fromarray(np.dstack([PIXELS, alpha]))
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    palette, bits = rgb.quantize(64), Image.fromarray(GREY).convert("1")
    in_palette = np.asarray(palette.convert("RGB"))
    in_bits = in_grey(np.asarray(bits).astype(np.uint8) * 255)
    grey16, grey12, rgb12 = wide(16), wide(12), wide(12, 3, (SIDE, SIDE, 3))
    rgba16 = wide(16, 4, (SIDE, SIDE, 4))
    unit = GREY.astype(np.float32) / 255
    lossless = {"lossless": True, "exact": True}
    upright6 = np.ascontiguousarray(np.rot90(PIXELS, -1))
    return {
        "jpeg": (encode(rgb, "JPEG"), None),
        "jpeg progressive": (encode(rgb, "JPEG", progressive=True), None),
        "jpeg grey": (encode(GREY, "JPEG"), None),
        "jpeg cmyk": (encode(rgb.convert("CMYK"), "JPEG"), None),
        "png": (encode(rgb, "PNG"), PIXELS),
        "webp": (encode(rgb, "WEBP", **lossless), PIXELS),
        "bmp": (encode(rgb, "BMP"), PIXELS),
        "tiff": (encode(rgb, "TIFF"), PIXELS),
        "tiff lzw": (encode(rgb, "TIFF", compression="tiff_lzw"), PIXELS),
        "tiff cmyk": (encode(rgb.convert("CMYK"), "TIFF"), PIXELS),
        "png grey": (encode(GREY, "PNG"), in_grey(GREY)),
        "png grey alpha": (encode(grey_alpha, "PNG"), in_grey(GREY)),
        "png alpha": (encode(rgba, "PNG"), PIXELS),
        "tiff alpha": (encode(rgba, "TIFF"), PIXELS),
        "webp alpha": (encode(rgba, "WEBP", **lossless), PIXELS),
        "png palette": (encode(palette, "PNG"), in_palette),
        "png palette clear": (encode(palette, "PNG", transparency=3), in_palette),
        "tiff palette": (encode(palette, "TIFF"), in_palette),
        "png 1 bit": (encode(bits, "PNG"), in_bits),
        "tiff 1 bit": (encode(bits, "TIFF"), in_bits),
        "png 16 bit grey": (encode(grey16, "PNG"), in_grey(grey16 >> 8)),
        "tiff 16 bit grey": (encode(grey16, "TIFF"), in_grey(grey16 >> 8)),
        "png 12 in 16 bit grey": (encode(grey12, "PNG"), in_grey(grey12 >> 4)),
        "tiff 12 in 16 bit grey": (encode(grey12, "TIFF"), in_grey(grey12 >> 4)),
        "tiff white is 0": (
            encode(grey12, "TIFF", tiffinfo={262: 0}), in_grey(255 - (grey12 >> 4))),
        "tiff 32 bit grey": (encode(grey12.astype(np.int32), "TIFF"), in_grey(grey12 >> 4)),
        "png 12 in 16 bit colour": (encode_deep(rgb12, ".png"), rgb12 >> 4),
        "tiff 12 in 16 bit colour": (encode_deep(rgb12, ".tiff"), rgb12 >> 4),
        "png 16 bit alpha": (encode_deep(rgba16, ".png"), rgba16[..., :3] >> 8),
        "tiff float 0..1": (encode(unit, "TIFF"), in_grey(GREY)),
        "tiff float colour": (encode_deep(PIXELS.astype(np.float32) / 255, ".tiff"), PIXELS),
        "tiff float 0..255": (encode(GREY.astype(np.float32), "TIFF"), in_grey(GREY)),
        "jpeg turned": (turned(rgb, "JPEG", 6), None),
        "png turned": (turned(rgb, "PNG", 6), upright6),
        "webp turned": (turned(rgb, "WEBP", 6, **lossless), upright6),
        "tiff turned": (turned_in_tiff_alone(PIXELS, 6), upright6),
        "tiff lzw turned": (turned(rgb, "TIFF", 6, compression="tiff_lzw"), upright6),
        "tiff 12 bit turned": (
            turned_in_tiff_alone(grey12, 6), in_grey(np.rot90(grey12, -1) >> 4)),
        "png 12 bit turned": (turned(grey12, "PNG", 6), in_grey(np.rot90(grey12, -1) >> 4)),
    }  # fmt: skip


def damaged_jpegs():
    """Return {name: bytes}: a JPEG cut off, and some whose middle is lost."""
    pixels = photo(np.random.default_rng(5), 192, 192)
    whole, progressive = encode(pixels, "JPEG"), encode(pixels, "JPEG", progressive=True)
    middle = len(whole) // 2
    return {
        "cut off": whole[:middle],
        "cut off with an end": whole[:middle] + b"\xff\xd9",
        "zeros": whole[:middle] + bytes(1500) + whole[middle + 1500 :],
        "hole": whole[:middle] + whole[middle + 1500 :],
        "progressive": progressive[: len(progressive) // 2] + b"\xff\xd9",
        "no data": whole[: whole.index(b"\xff\xda") + 14] + struct.pack(">H", 0xFFD9),
    }
