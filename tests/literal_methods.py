"""The loss of each method as loops over its equations, from maps and crops alone.

Each function takes the objective (for its heads and queues), ``shown[view][image]``, the maps
``online[view]`` and ``target[view]`` as {name: (N, C, h, w)}, and what was drawn. It returns
{name of a loss: scalar}, before the weight of the objective.
"""

import math

import torch
from oracles import read
from whole_step import shared_part, smallest_sides

BOTH = ((0, 1), (1, 0))


def unit(x):
    return x / (x * x).sum().sqrt()


def cosine(x, y):
    return (unit(x) * unit(y)).sum()


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else torch.zeros((), dtype=torch.float64)


def nce(query, key, queue, temperature):
    """-log of the share of the key among the key and the queue."""
    logits = [cosine(query, key) / temperature] + [cosine(query, x) / temperature for x in queue]
    return -(logits[0].exp() / sum(x.exp() for x in logits)).log()


def heads_on(heads, rows, joined=False):
    """Lists of vectors by view through heads whose batch norm sees a view, or all of them."""
    groups = [list(rows)] if joined else [[view] for view in rows]
    found = {}
    for group in groups:
        x = torch.stack([vector for view in group for vector in rows[view]])
        for head in heads:
            x = head(x)
        for view in group:
            found[view], x = x[: len(rows[view])], x[len(rows[view]) :]
    return found


def cells_of(feature_map):
    """(C, h, w) -> list of the vectors of its cells, row by row."""
    _, height, width = feature_map.shape
    return [feature_map[:, r, c] for r in range(height) for c in range(width)]


def pooled(maps, name, views=(0, 1)):
    return {v: [mean(cells_of(x)) for x in maps[v][name]] for v in views if v in maps}


def on_every_cell(heads, maps, name, joined=False):
    """{view: [image][cell]} after heads on every cell."""
    rows = {v: [c for x in found[name] for c in cells_of(x)] for v, found in maps.items()}
    found = heads_on(heads, rows, joined)
    return {v: list(x.view(len(maps[v][name]), -1, x.shape[1])) for v, x in found.items()}


def centres(view, shape):
    """Centres of the cells in image pixels, row by row."""
    height, width = shape
    step = view.side / width, view.side / height
    return [view.to_image((c + 0.5) * step[0], (r + 0.5) * step[1])
            for r in range(height) for c in range(width)]  # fmt: skip


def align(feature_map, box, side, aligned=True):
    """1 x 1 RoIAlign of a box in view pixels, sampled once per cell that it spans."""
    _, height, width = feature_map.shape
    step = side / width
    x1, y1, x2, y2 = (z / step - (0.5 if aligned else 0.0) for z in box)
    w, h = x2 - x1, y2 - y1
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    columns, rows = math.ceil(w), math.ceil(h)
    if columns == 0 or rows == 0:
        return feature_map[:, 0, 0] * 0
    return mean(read(feature_map, y1 + (i + 0.5) * h / rows, x1 + (j + 0.5) * w / columns)
                for i in range(rows) for j in range(columns))  # fmt: skip


def usable_images(shown, pixels):
    """For each image whether the overlap is larger than ``pixels`` view pixels along both axes."""
    result = []
    for first, second in zip(*shown[:2]):
        x1, y1, x2, y2 = shared_part(first, second)
        w, h = smallest_sides(first, second, pixels)
        result.append(x2 - x1 > w and y2 - y1 > h)
    return result


def byol(made, shown, online, target, drawn, joined=False):
    predictions = heads_on([made.projector], pooled(online, made.in_feature), joined)
    predictions = heads_on([made.predictor], predictions, joined)
    goals = heads_on([made.target_projector], pooled(target, made.in_feature), joined)
    terms = [2 - 2 * cosine(p, z) for o, t in BOTH for p, z in zip(predictions[o], goals[t])]
    return {"loss_byol": mean(terms)}


def moco(made, shown, online, target, drawn, directions=BOTH[:1], after_head=False):
    queries = image_vectors(made.projector, online, made.in_feature, after_head)
    keys = image_vectors(made.target_projector, target, made.in_feature, after_head)
    queue = made.contrast.bank.keys.double()
    pairs = [x for o, t in directions for x in zip(queries[o], keys[t])]
    return {"loss_moco": mean(nce(q, k, queue, 0.2) for q, k in pairs)}


def image_vectors(head, maps, name, after_head):
    """{view: [image]}: the head on the mean of the cells, or the mean of the head on every cell."""
    if not after_head:
        return heads_on([head], pooled(maps, name))
    return {v: [mean(x) for x in cells] for v, cells in on_every_cell([head], maps, name).items()}


def moco_keys(made, target):
    """{view: [image]}, what the queue takes in."""
    return image_vectors(made.target_projector, target, made.in_feature, False)


def dense_cl_keys(made, target):
    """One key per image: the mean over its cells, as in DenseCL's queue."""
    return image_vectors(made.target_projector, target, made.in_feature, True)


def dense_cl(made, shown, online, target, drawn, directions=BOTH[:1]):
    queries = on_every_cell([made.projector], online, made.in_feature)
    keys = on_every_cell([made.target_projector], target, made.in_feature)
    queue, terms = made.contrast.bank.keys.double(), []
    for o, t in directions:
        for i in range(len(queries[o])):
            theirs = cells_of(target[t][made.in_feature][i])
            for j, own in enumerate(cells_of(online[o][made.in_feature][i])):
                best = max(range(len(theirs)), key=lambda k: cosine(own, theirs[k]).item())
                terms.append(nce(queries[o][i][j], keys[t][i][best], queue, 0.2))
    return {"loss_dense": mean(terms)}


def pixpro(made, shown, online, target, drawn, joined=False, threshold=0.7, power=2):
    projections = on_every_cell([made.projector], online, made.in_feature, joined)
    rows = {v: [c for image in p for c in image] for v, p in projections.items()}
    values = heads_on([made.propagation.transform], rows, joined)
    goals = on_every_cell([made.target_projector], target, made.in_feature, joined)
    shape = online[0][made.in_feature].shape[2:]
    directions = []
    for o, t in BOTH:
        images = []
        for i in range(len(shown[0])):
            x, z = projections[o][i], goals[t][i]
            g = values[o].view(len(shown[0]), len(x), -1)[i]
            y = [sum(cosine(a, b).clamp(min=0) ** power * unit(v) for b, v in zip(x, g)) for a in x]
            views = shown[o][i], shown[t][i]
            here, there = (centres(view, shape) for view in views)
            bins = max(math.hypot(*(view.side / n / f for n, f in zip(shape[::-1], view.zoom())))
                       for view in views)  # fmt: skip
            terms = [-cosine(y[a], z[b]) for a, p in enumerate(here) for b, q in enumerate(there)
                     if math.dist(p, q) / bins <= threshold]  # fmt: skip
            images += [mean(terms)] if terms else []
        directions.append(mean(images))
    return {"loss_pixpro": mean(directions)}


def box_vectors(made, shown, maps, boxes, aligned):
    """Pooled boxes {view: list over images and boxes}; ``boxes[view]``: (N, K, 4), image pixels."""
    name = made.in_feature
    return {v: [align(found[name][i], shown[v][i].box(*box), shown[v][i].side, aligned)
                for i in range(len(shown[v])) for box in boxes[v][i].tolist()]
            for v, found in maps.items()}  # fmt: skip


def scrl(made, shown, online, target, drawn, joined=False, aligned=True):
    """``drawn``: the boxes of both views, or of each, in image pixels."""
    boxes = drawn * 2 if len(drawn) == 1 else drawn
    count = boxes[0].shape[1]
    rows = box_vectors(made, shown, online, boxes, aligned)
    predictions = heads_on([made.predictor], heads_on([made.projector], rows, joined), joined)
    rows = box_vectors(made, shown, target, boxes, aligned)
    goals = heads_on([made.target_projector], rows, joined)
    used = [x for x in usable_images(shown, made.min_box_size) for _ in range(count)]
    rows = [x for o, t in BOTH for x in zip(predictions[o], goals[t], used)]
    return {"loss_scrl": mean(2 - 2 * cosine(p, z) for p, z, use in rows if use)}


def parts_of(box, size):
    """A box cut into ``size`` x ``size`` equal parts, row by row."""
    x1, y1, x2, y2 = box
    w, h = (x2 - x1) / size, (y2 - y1) / size
    return [(x1 + c * w, y1 + r * h, x1 + (c + 1) * w, y1 + (r + 1) * h)
            for r in range(size) for c in range(size)]  # fmt: skip


def dupr(made, shown, online, target, drawn):
    losses = {}
    for name, weight in made.alpha.items():
        branch = f"image_{name}"
        queries = heads_on([made.head[branch]], pooled(online, name))[0]
        keys = heads_on([made.target_head[branch]], pooled(target, name))[1]
        queue = made.contrast[branch].bank.keys.double()
        losses[f"loss_{branch}"] = weight * mean(
            nce(q, k, queue, 0.2) for q, k in zip(queries, keys)
        )
    for name, weight in made.beta.items():
        branch, head = f"patch_{name}", made.head[f"patch_{name}"]
        queue = made.contrast[branch].bank.keys.double()
        queries = dupr_patches(head, shown[0], shown, online[0][name], made, name)
        pairs = zip(queries, dupr_keys(made, shown, target, name))
        terms = [nce(q, k, queue, 0.2) for image in pairs for q, k in zip(*image)]
        losses[f"loss_{branch}"] = weight * mean(terms)
    return losses


def dupr_patches(head, view, shown, maps, made, name):
    """Lists of the patches of each usable image as ``view`` shows them, in the image's order."""
    result = []
    for i in [i for i, use in enumerate(usable_images(shown, made.smallest_side)) if use]:
        parts = parts_of(shared_part(shown[0][i], shown[1][i]), made.roi_size[name])
        result.append([head(align(maps[i], view[i].box(*x), view[i].side)[None])[0] for x in parts])
    return result


def dupr_keys(made, shown, target, name):
    head = made.target_head[f"patch_{name}"]
    return dupr_patches(head, shown[1], shown, target[1][name], made, name)


def local_pairs(shown, sought, where, sought_shape, where_shape):
    """For each image: (number of a cell of ``sought``, its place (row, column) in ``where``)."""
    height, width = where_shape
    result = []
    for first, second in zip(shown[sought], shown[where]):
        places = [(k, second.to_view(*p)) for k, p in enumerate(centres(first, sought_shape))
                  if second.shows(*p)]  # fmt: skip
        result.append([(k, (v * height / second.side - 0.5, u * width / second.side - 0.5))
                       for k, (u, v) in places])  # fmt: skip
    return result


def lc_loss(made, shown, online, target, drawn, pairs=((2, 0), (2, 1)), mse=False, joined=False):
    name = made.in_feature
    sides = [dict.fromkeys(x) for x in zip(*pairs)]  # the views that each network is asked for
    target, online = ({v: maps[v] for v in x} for maps, x in zip((target, online), sides))
    anchors = on_every_cell([made.target_projector], target, name, joined)
    found = on_every_cell([made.projector, made.predictor], online, name, joined)
    directions = []
    for sought, where in pairs:
        shapes = [x[name].shape[2:] for x in (target[sought], online[where])]
        places, terms = local_pairs(shown, sought, where, *shapes), []
        for i, of_image in enumerate(places):
            for k, (y, x) in of_image:
                anchor = anchors[sought][i][k]
                if mse:
                    grid = found[where][i].T.unflatten(1, shapes[1])
                    terms.append(2 - 2 * cosine(read(grid, y, x), anchor))
                else:
                    logits = torch.stack([cosine(anchor, c) / 0.1 for c in found[where][i]])
                    losses = logits.exp().sum().log() - logits
                    terms.append(read(losses.view(1, *shapes[1]), y, x)[0])
        directions.append(mean(terms))
    return {"loss_local": mean(directions)}
