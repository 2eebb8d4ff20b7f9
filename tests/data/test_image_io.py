"""Reading images: the same pixels as Pillow's, or an error that names the file."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from helpers import photo
from PIL import Image, ImageOps

from dense_ssl.data.deep_images import rgb_of_pil
from dense_ssl.data.image_io import BrokenImageError, read_header, read_image

PIXELS = photo(np.random.default_rng(0), 97, 61)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
ORIENTATION = 0x0112  # EXIF


def encode(image, form, **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def write(folder, data, name="image"):
    path = folder / name
    path.write_bytes(data)
    return path


def as_pillow_reads(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def assert_same(path, tolerance=0):
    got, expected = read_image(path), as_pillow_reads(path)
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_pillows_pixels(tmp_path, form):
    path = write(tmp_path, encode(Image.fromarray(PIXELS), form))
    assert_same(path)
    if form not in ("JPEG", "WEBP"):  # without loss
        assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("form", FORMATS)
def test_grey_becomes_three_equal_channels(tmp_path, form):
    path = write(tmp_path, encode(Image.fromarray(PIXELS).convert("L"), form))
    assert_same(path)
    got = read_image(path)
    assert np.array_equal(got[..., 0], got[..., 2])


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_palette_is_looked_up(tmp_path, form):
    image = Image.fromarray(PIXELS).quantize(64)
    path = write(tmp_path, encode(image, form))
    assert_same(path)
    assert np.array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_palette_with_a_transparent_colour_keeps_it(tmp_path):
    image = Image.fromarray(PIXELS).quantize(64)
    path = write(tmp_path, encode(image, "PNG", transparency=3))
    assert np.array_equal(read_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP"])
def test_alpha_is_dropped(tmp_path, form):
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    alpha = np.random.default_rng(1).integers(0, 256, PIXELS.shape[:2], dtype=np.uint8)
    image = Image.fromarray(np.dstack([PIXELS, alpha]))
    assert np.array_equal(read_image(write(tmp_path, encode(image, form, **options))), PIXELS)


def test_grey_with_alpha(tmp_path):
    assert_same(write(tmp_path, encode(Image.fromarray(PIXELS).convert("LA"), "PNG")))


def test_cmyk_jpeg(tmp_path):
    path = write(tmp_path, encode(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"))
    assert_same(path, tolerance=1)  # the two round the conversion differently
    assert np.abs(read_image(path).astype(int) - PIXELS).mean() < 20  # colours not inverted


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_the_high_byte(tmp_path, form):
    values = np.random.default_rng(2).integers(0, 65536, (40, 50)).astype(np.uint16)
    got = read_image(write(tmp_path, encode(Image.fromarray(values), form)))
    for channel in range(3):
        assert np.array_equal(got[..., channel], values >> 8)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bit_colour_keeps_the_high_byte(tmp_path, extension):
    values = np.random.default_rng(3).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    path = tmp_path / f"deep{extension}"
    cv2.imwrite(str(path), values)  # BGR; Pillow does not write it
    got = read_image(path)[..., ::-1].astype(int)
    assert np.abs(got - (values >> 8)).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = write(tmp_path, encode(Image.fromarray(PIXELS), form, exif=exif))
    assert_same(path)
    assert read_image(path).shape[:2] == ((97, 61) if orientation >= 5 else (61, 97))


def chunk(kind, data):
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sizes(path):
    header = read_header(path)
    return (header.height, header.width), read_image(path).shape[:2]


@pytest.mark.parametrize("place", ["IDAT", "IEND"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("deep", [False, True])
def test_exif_of_a_png_may_follow_its_pixels(tmp_path, place, orientation, deep):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256 if deep else PIXELS)
    data, body = encode(image, "PNG"), exif.tobytes().removeprefix(b"Exif\0\0")
    start = data.index(place.encode()) - 4
    path = write(tmp_path, data[:start] + chunk(b"eXIf", body) + data[start:])
    assert sizes(path) == ((97, 61),) * 2 if orientation == 6 else ((61, 97),) * 2


@pytest.mark.parametrize("form", ["JPEG", "PNG", "deep PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("with_exif", [False, True])
def test_the_orientation_is_that_of_exif_alone(tmp_path, form, with_exif):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) if form == "deep PNG" else PIXELS)
    if form == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    else:
        options = {"xmp": xmp, **({"exif": exif} if with_exif else {})}
    data = encode(image, form.split()[-1], **options)
    if "PNG" in form:
        start = data.index(b"IDAT") - 4
        text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
        data = data[:start] + text + data[start:]
    path = write(tmp_path, data)
    assert sizes(path) == ((61, 97),) * 2
    assert not read_header(path).is_turned


def test_orientations_differ(tmp_path):
    images = set()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = write(tmp_path, encode(Image.fromarray(PIXELS), "PNG", exif=exif))
        images.add(read_image(path).tobytes())
    assert len(images) == 8


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_broken(tmp_path, form, share):
    data = encode(Image.fromarray(PIXELS), form)
    path = write(tmp_path, data[: int(share * len(data))], "cut-off")
    with pytest.raises(BrokenImageError, match="cut-off"):
        read_image(path)


def test_what_opencv_fills_up_with_grey_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *args: PIXELS.copy())  # as some versions do
    data = encode(Image.fromarray(PIXELS), "JPEG")
    assert read_image(write(tmp_path, data)).shape == PIXELS.shape
    with pytest.raises(BrokenImageError, match="cut-off"):
        read_image(write(tmp_path, data[: len(data) // 2], "cut-off"))


@pytest.mark.parametrize("tail", [1, 8, 60, 200])
def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path, tail):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encode(Image.fromarray(PIXELS), "JPEG", exif=exif)
    whole = read_image(write(tmp_path, data, "whole"))
    longer = read_image(write(tmp_path, data + bytes(range(tail)), "longer"))
    assert np.array_equal(whole, longer)


@pytest.mark.parametrize("data", [b"", b"no image, only text " * 20, b"\xff\xd8\xff\xd9"])
def test_what_is_no_image_is_broken(tmp_path, data):
    path = write(tmp_path, data, "holiday.jpg")
    with pytest.raises(BrokenImageError, match="holiday.jpg: [^<]*$"):  # no <object at 0x...>
        read_image(path)


def test_missing_file_and_folder_are_broken(tmp_path):
    with pytest.raises(BrokenImageError, match="nowhere.jpg: No such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(BrokenImageError, match="directory"):
        read_image(tmp_path)


def test_a_broken_image_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        read_image(str(tmp_path / "nowhere.jpg"))


def test_names_may_be_anything(tmp_path):
    path = write(tmp_path, encode(Image.fromarray(PIXELS), "PNG"), "Ansicht ä 1 (2).jpg")
    assert np.array_equal(read_image(str(path)), PIXELS)  # the content counts, not the extension


@pytest.mark.parametrize("kind", ["turned", "deep", "grey", "palette", "transparent"])
def test_a_pil_image_gives_the_pixels_of_its_file(tmp_path, kind):
    image, path = Image.fromarray(photo(np.random.default_rng(1), 40, 30)), tmp_path / "a.png"
    exif = image.getexif()
    if kind == "turned":
        exif[0x0112] = 6
    elif kind == "deep":
        image = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    else:
        image = image.convert({"grey": "L", "palette": "P", "transparent": "RGBA"}[kind])
    image.save(path, exif=exif)
    expected = read_image(path)
    with Image.open(path) as opened:
        found = rgb_of_pil(opened)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    assert found.shape[:2] == ((40, 30) if kind == "turned" else (30, 40))
