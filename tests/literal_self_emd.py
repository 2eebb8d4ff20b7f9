"""Self-EMD's losses as loops over its equations (Liu et al. 2021), from the maps of the backbone.

Nothing of ``dense_ssl.losses`` and of ``dense_ssl.modeling`` is used, except the heads.
"""

import torch
from literal_methods import heads_on

PAIRS = ((0, 1), (1, 0), (2, 0), (2, 1))  # (online view, target view)
# windows of the average pooling: side and stride
WINDOWS = ((3, 1), (3, 2))


def self_emd(
    objective,
    online,
    target,
    pairs=PAIRS,
    marginals="vector",
    unit_nodes=False,
    pyramid="union",
    vector_weight=1.0,
    through_plan=False,
    joined=False,
    settings=(0.05, 20),
):
    """{name: loss} of maps {view: (N, C, h, w)}; the losses are means over ``pairs``."""
    chain = [[objective.projector, objective.predictor], [objective.target_projector]]
    x_maps, y_maps = (nodes_of(heads, maps, joined) for heads, maps in zip(chain, (online, target)))
    has_vectors = vector_weight > 0 or marginals == "vector"
    x_vectors, y_vectors = (
        vectors_of(heads, maps, joined) if has_vectors else None
        for heads, maps in zip(chain, (online, target))
    )
    x_levels, y_levels = (
        {v: [levels_of(cells, pyramid) for cells in images] for v, images in maps.items()}
        for maps in (x_maps, y_maps)
    )
    emd, byol = [], []
    for o, t in pairs:
        for i in range(len(online[o])):
            problems = list(zip(x_levels[o][i], y_levels[t][i]))
            if pyramid == "union":
                problems = [[sum(z, []) for z in (x_levels[o][i], y_levels[t][i])]]
            for x, y in problems:
                vectors = (y_vectors[t][i], x_vectors[o][i]) if has_vectors else (None, None)
                masses = [
                    weights(nodes, others, vector, marginals, unit_nodes)
                    for nodes, others, vector in zip((x, y), (y, x), vectors)
                ]
                value = 2 - 2 * similarity(x, y, *masses, through_plan, *settings)  # Eq. 13
                emd.append(value / len(problems))
            if vector_weight > 0:
                gap = unit(x_vectors[o][i]) - unit(y_vectors[t][i])
                byol.append((gap * gap).sum())  # Eq. 2
    losses = {"loss_emd": sum(emd) / (len(pairs) * len(online[0]))}
    if vector_weight > 0:
        losses["loss_vector"] = vector_weight * sum(byol) / len(byol)
    return losses


def unit(x):
    return x / (x * x).sum(dim=-1, keepdim=True).sqrt()


def cells_of(feature_map):
    """(C, h, w) -> list of the vectors of its cells, row by row."""
    _, height, width = feature_map.shape
    return [feature_map[:, r, c] for r in range(height) for c in range(width)]


def nodes_of(heads, maps, joined):
    """{view: [image][cell]} of a chain of heads on every cell."""
    rows = {v: [cell for image in x for cell in cells_of(image)] for v, x in maps.items()}
    found = run([head["map"] for head in heads], rows, maps, joined)
    result = {}
    for v, x in maps.items():
        count = x.shape[2] * x.shape[3]
        result[v] = [list(found[v][i * count : (i + 1) * count]) for i in range(len(x))]
    return result


def vectors_of(heads, maps, joined):
    """{view: [image]} of a chain of heads on the mean of the cells."""
    rows = {v: [sum(cells_of(i)) / len(cells_of(i)) for i in x] for v, x in maps.items()}
    return run([head["vector"] for head in heads], rows, maps, joined)


def run(heads, rows, maps, joined):
    """Vectors of a view through heads; batch norm sees a view, or the views whose maps are equal
    in size."""
    groups = [[v] for v in rows]
    if joined:
        sizes = dict.fromkeys(x.shape[2:] for x in maps.values())
        groups = [[v for v in rows if maps[v].shape[2:] == size] for size in sizes]
    found = {}
    for group in groups:
        found.update(heads_on(heads, {v: rows[v] for v in group}, joined=True))
    return found


def levels_of(cells, pyramid):
    """Nodes of a square map, of its 3 x 3 windows, and of every other one of them."""
    side, levels = round(len(cells) ** 0.5), [cells]
    if pyramid == "none" or side < 5:
        return levels
    for window, stride in WINDOWS:
        steps = range(0, side - window + 1, stride)
        levels.append([
            sum(cells[r * side + c] for r in range(top, top + window)
                for c in range(left, left + window)) / window**2
            for top in steps for left in steps
        ])  # fmt: skip
    return levels


def weights(nodes, others, vector, marginals, unit_nodes):
    """Eq. 15, or Eq. 14 with the mean of the other view's nodes; a distribution."""
    if marginals == "uniform":
        return nodes[0].new_full((len(nodes),), 1 / len(nodes))
    if marginals == "mean":
        vector = sum(others) / len(others)
    x = torch.stack(nodes)
    agreement = (unit(x) if unit_nodes else x) @ vector
    agreement = agreement * (agreement > 0)
    if agreement.max() == 0:
        return torch.ones_like(agreement) / len(nodes)
    agreement = agreement + 1e-3 * agreement.max()
    return agreement / agreement.sum()


def similarity(x, y, rows, columns, through_plan, gamma, iterations):
    """Eq. 12, with the plan of Eq. 9 and 10."""
    x, y = unit(torch.stack(x)), unit(torch.stack(y))
    cost = 1 - x @ y.T  # Eq. 11
    similar = 1 - cost
    if not through_plan:
        cost, rows, columns = cost.detach(), rows.detach(), columns.detach()
    kernel = (-cost / gamma).exp()
    v = torch.ones_like(rows)
    for _ in range(iterations):
        u = columns / (kernel.T @ v)
        v = rows / (kernel @ u)
    return (similar * v[:, None] * kernel * u[None, :]).sum()
