"""Folders in the layout of PASCAL VOC, and the flat ones of voc_flat.py."""

import functools
import logging
import math
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from detectron2.data.datasets.pascal_voc import CLASS_NAMES
from detectron2.structures import BoxMode

from ...utils.progress import progress
from ...utils.text_files import FLAGS, find_file, read_text
from ..image_io import read_header
from .folder import IMAGE_EXTENSIONS, check_folder
from .paths import located
from .voc_flat import XML, is_flat, read_flat
from .xml_files import parse_xml

logger = logging.getLogger(__name__)

_SIZE_TAGS = ("width", "height")
BOX_TAGS = ("xmin", "ymin", "xmax", "ymax")


def check_voc_folder(root, *parts):
    """Return the root of a VOC data set, located; raise if a part of it is missing."""
    root = located(root)
    check_folder(root, "the root of a VOC data set")
    for part in parts:
        check_folder(os.path.join(root, part), "a part of a VOC data set")
    return root


def annotation_file(root, image_id):
    """Return the path of the annotation file of an image."""
    stem = os.path.join(root, "" if is_flat(root) else "Annotations", image_id)
    return find_file(stem, ("xml",)) or f"{stem}.xml"


def read_split(root, split, task="Main"):
    """Return the image ids of ImageSets/``task``/``split``.txt or of a flat split, list of str."""
    if task == "Main" and is_flat(root):
        return read_flat(root, split)
    folder = os.path.join(root, "ImageSets", task)
    path = os.path.join(folder, f"{split}.txt")
    if not os.path.isfile(path):
        there = sorted(x[:-4] for x in os.listdir(folder) if x.endswith(".txt"))
        raise FileNotFoundError(f"the split file {path!r} does not exist. Splits there: {there}.")
    lines = [line.strip() for line in read_text(path).splitlines()]
    if not any(lines):
        raise ValueError(f"the split file {path!r} names no images.")
    # each image once: repeated ones would be found twice, and labelled once
    return list(dict.fromkeys(_image_id(root, line) for line in lines if line))


def _image_id(root, line):
    """Return the id in a line of a split file; those of one class have a flag behind it."""
    stem, *flag = line.rsplit(None, 1)
    if flag and flag[0] in ("-1", "0", "1") and not find_image(root, line):  # "photo 1"
        return stem
    return line


def read_classes(root):
    """Return the class names in classes.txt of a VOC folder, [] without the file."""
    path = os.path.join(root, "classes.txt")
    if not os.path.isfile(path):
        return []
    classes = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"{path!r} must name each class once, one per line; it has {classes}.")
    return classes


def split_classes(root, split):
    """Return the class names of a split: those of classes.txt, or of the annotations."""
    return read_classes(root) or classes_of_annotations(root, read_split(root, split), split)


def classes_of_annotations(root, ids, split):
    """Return the class names of a VOC folder without classes.txt.

    They are the names in all annotation files, sorted: all splits of a folder have the same list.
    If all of them are VOC's own, or there are none, they are VOC's 20 in VOC's order, except in a
    flat folder, which is not PASCAL's.

    Args:
        root: the folder.
        ids: image ids of the split, for the message about classes that it does not have.
        split: its name.
    """
    by_image = names_by_image(os.path.abspath(root))
    found = set().union(*by_image.values())
    if is_flat(root) and not found:
        raise ValueError(f"no annotation file in the folders of {root!r} has an object.")
    if found <= set(CLASS_NAMES) and not is_flat(root):
        if len(found) < len(CLASS_NAMES):
            logger.info("%s has objects of %d of VOC's %d classes, and a detector gets all of them "
                        "in VOC's order; %s chooses others", root, len(found), len(CLASS_NAMES),
                        os.path.join(root, "classes.txt"))  # fmt: skip
        return list(CLASS_NAMES)
    classes = sorted(found)
    logger.info("Classes of %s, read from its annotations: %s", root, ", ".join(classes))
    here = set().union(*(by_image.get(x, set()) for x in ids))
    if found - here:
        logger.warning(
            "The split %r of %s has no object of: %s. A detector does not learn a class that is "
            "not in its training data; %s leaves classes out.",
            split, root, ", ".join(sorted(found - here)), os.path.join(root, "classes.txt"),
        )  # fmt: skip
    return classes


@functools.lru_cache(maxsize=8)
def names_by_image(root):
    """Return {image id: names of its objects} of all annotation files that can be read.

    Files with faults are left out here; loading a split that has one names the fault.
    """
    flat = is_flat(root)
    folder = Path(root) if flat else Path(root, "Annotations")
    paths = sorted(folder.glob(f"*/{XML}") if flat else folder.rglob(XML))
    paths = [x for x in paths if not x.name.startswith(".")]  # macOS writes "._1.xml" beside 1.xml
    logger.info("Reading the classes of %d files in %s; %s would avoid it", len(paths), folder,
                os.path.join(root, "classes.txt"))  # fmt: skip
    found = {}
    for path in progress(paths, f"Reading {folder}"):
        try:
            tree = parse_xml(path)
        except (ElementTree.ParseError, ValueError):
            continue
        names = {x.findtext("name", "").strip() for x in tree.findall("object")}
        found[path.relative_to(folder).with_suffix("").as_posix()] = names - {""}
    return found


def read_objects(path):
    """Read an annotation file.

    Returns:
        (root xml element, list of dicts with ``name``, ``box`` (4 floats as in the file) and
        ``difficult``). ``difficult`` is False if the file does not say.
    """
    try:
        tree = parse_xml(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the annotation file {path!r} does not exist. Images without labels can be "
            "pre-trained on as 'folder:IMAGES'."
        ) from error
    except ElementTree.ParseError as error:
        raise ValueError(f"{path!r} is not valid xml ({error}).") from error
    objects = []
    for i, element in enumerate(tree.findall("object"), start=1):
        where = f"object {i} of {path!r}"
        objects.append(
            {
                "name": _text(element, "name", where),
                "box": [_number(element, f"bndbox/{x}", where) for x in BOX_TAGS],
                "difficult": _flag(element, "difficult", where),
            }
        )
    return tree, objects


def image_file(root, image_id):
    """Return the image of a VOC folder with an id, whatever its extension."""
    found = find_image(root, image_id)
    if not found:
        raise FileNotFoundError(
            f"there is no image {_image_stem(root, image_id) + '.jpg'!r} (nor with any other "
            f"extension of {sorted(IMAGE_EXTENSIONS)})."
        )
    return found


def find_image(root, image_id):
    """Return the path of :func:`image_file`; "" if there is none."""
    return find_file(_image_stem(root, image_id), ("jpg", *sorted(IMAGE_EXTENSIONS - {"jpg"})))


def _image_stem(root, image_id):
    return os.path.join(root, "" if is_flat(root) else "JPEGImages", image_id)


def read_item(root, image_id, classes):
    """Return the dict of one image; objects marked difficult are kept, as detectron2 does."""
    return read_marked_item(root, image_id, classes)[0]


def read_marked_item(root, image_id, classes):
    """Return (dict of one image, whether each of its objects is marked difficult)."""
    path = annotation_file(root, image_id)
    tree, objects = read_objects(path)
    file_name = image_file(root, image_id)
    width, height = _image_size(tree, file_name, path)
    annotations = []
    for item in objects:
        if item["name"] not in classes:
            raise ValueError(
                f"{path!r} has the class {item['name']!r}, which is none of {classes}. Add it to "
                f"{os.path.join(root, 'classes.txt')!r}, or delete its objects."
            )
        left, top, right, bottom = item["box"]
        annotations.append(
            {
                "category_id": classes.index(item["name"]),
                # VOC counts pixels from 1 and includes the last one
                "bbox": [left - 1, top - 1, right, bottom],
                "bbox_mode": BoxMode.XYXY_ABS,
            }
        )
    item = {
        "file_name": file_name,
        "image_id": image_id,
        "height": height,
        "width": width,
        "annotations": annotations,
    }
    return item, [x["difficult"] for x in objects]


def _image_size(tree, file_name, path):
    """Return (width, height): from the annotation, or the image if the annotation has none."""
    if all((tree.findtext(f"size/{x}") or "").strip() for x in _SIZE_TAGS):
        size = [int(_number(tree, f"size/{x}", repr(path))) for x in _SIZE_TAGS]
        if min(size) > 0:
            return size
    header = read_header(file_name)  # boxes are those of the picture as it is shown
    return header.width, header.height


def _text(element, tag, where):
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise ValueError(f"{where} has no <{tag.replace('/', '><')}>.")
    return text


def _flag(element, tag, where):
    """A tag that says yes or no; False if there is none."""
    text = element.findtext(tag, "").strip().lower()
    if text not in FLAGS:
        raise ValueError(f"{where} has {text!r} in <{tag}>, which is neither 0 nor 1.")
    return FLAGS[text]


def _number(element, tag, where):
    text = _text(element, tag, where)
    try:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError
    except ValueError as error:
        tag = tag.replace("/", "><")
        raise ValueError(f"{where} has {text!r} in <{tag}>, which is not a number.") from error
    return number
