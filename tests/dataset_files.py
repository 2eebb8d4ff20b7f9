"""Small data sets on disk for tests."""

import json

import numpy as np
from helpers import base_config
from PIL import Image

OBJECT = (
    "<object><name>{}</name>{}<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def make_image(path, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


def make_cfg(train=(), test=(), **model):
    cfg = base_config()
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = train, test
    for key, value in model.items():
        cfg.MODEL[key] = value
    return cfg


def make_coco(tmp_path, **changes):
    for i in (1, 2):
        make_image(tmp_path / "images" / f"{i}.jpg")
    annotation = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 8], "area": 80}
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in (2, 1)],
        "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
        "annotations": [{**annotation, "iscrowd": 0}],
        **changes,
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))
    return f"coco:{path}:{tmp_path / 'images'}"


def make_voc(
    tmp_path, objects, split="train", size="<size><width>40</width><height>30</height></size>"
):
    root = tmp_path / "voc"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, items in objects.items():
        make_image(root / "JPEGImages" / f"{name}.jpg")
        body = "".join(OBJECT.format(*x) for x in items)
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{body}</annotation>")
    (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(objects) + "\n")
    return root


def make_labels(path, values, mode="L"):
    """A label map: (H, W) values, in a grey, a palette or a 16-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    if mode == "I;16":
        Image.fromarray(values.astype(np.uint16)).save(path)
        return
    image = Image.fromarray(values.astype(np.uint8))
    if mode == "P":
        image = image.convert("P")
        image.putdata(values.ravel().tolist())
        # colours whose brightness is not the index
        image.putpalette([x for i in range(256) for x in (255 - i, i * 7 % 256, i * 31 % 256)])
    image.save(path)
