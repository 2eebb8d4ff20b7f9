"""Ids and names in a COCO json: what labels refer to."""

from collections import Counter

from .coco_json import is_id, refuse_repeated


def refuse_wrong_ids(json_file, data):
    """Raise ValueError if labels cannot be told apart, or refer to what is not there.

    Args:
        json_file: path, for the message.
        data: content of the json; its annotations are a list of dicts.
    """
    refuse_repeated(json_file, "categories", data["categories"], "Give each class an id.")
    nameless = [x["id"] for x in data["categories"] if not is_id(x["name"]) or x["name"] == ""]
    if nameless:
        raise ValueError(f"{json_file!r}: category {nameless[0]!r} has no name; give it a text.")
    for part in ("images", "categories"):
        if len({isinstance(x["id"], str) for x in data[part]}) > 1:
            raise ValueError(
                f"{json_file!r}: some ids of {part} are numbers and some are texts, which have no "
                "common order. Make all of them numbers."
            )
    _refuse_one_name(json_file, data)
    _refuse_unknown(json_file, data)


def _refuse_one_name(json_file, data):
    """Two classes that are used must not have one name; tools write an unused one more."""
    used = {x["category_id"] for x in data["annotations"] if is_id(x.get("category_id"))}
    counts = Counter(x["name"] for x in data["categories"] if x["id"] in used)
    repeated = [x for x, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"{json_file!r}: {len(repeated)} names of categories occur several times, first "
            f"{repeated[0]!r}: their scores could not be told apart. Give each class its own name, "
            "or its objects one category_id."
        )


def _refuse_unknown(json_file, data):
    annotations = data["annotations"]
    known = {part: {x["id"] for x in data[part]} for part in ("images", "categories")}
    for part, field in (("images", "image_id"), ("categories", "category_id")):
        ids = [x[field] for x in annotations if x.get(field) is not None]
        unknown = [x for x in ids if not is_id(x) or x not in known[part]]
        if unknown:
            raise ValueError(
                f"{json_file!r}: {len(unknown)} of {len(annotations)} annotations have a {field} "
                f"that is not among its {part}, the first one {unknown[0]!r}."
            )
