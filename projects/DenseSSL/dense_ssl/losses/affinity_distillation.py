"""Point affinity distillation, the second loss of point-level region contrast."""

import torch
import torch.nn.functional as F

from ..utils.checks import require_one_of
from .chunks import over_chunks
from .point_region_contrast import NEGATIVES
from .precision import full_precision


@full_precision
def affinity_distillation(
    query,
    key,
    student_temperature,
    teacher_temperature,
    *,
    teacher=None,
    candidates=None,
    teacher_candidates=None,
    valid=None,
    negatives="batch",
    other_keys=None,
    exclude_self=False,
    max_entries=None,
):
    r"""Cross-entropy of the student's point affinities under those of the momentum encoder.

    .. math:: L_a = -\sum_{i, k} A_{i'k'}(\tau_t) \log A_{ik'}(\tau_s), \qquad
              A_{ik'}(\tau) = \frac{\exp(p_i \cdot p'_k / \tau)}{\sum_j \exp(p_i \cdot p'_j / \tau)}

    Point-level region contrast (Bai et al. 2022): Eq. 3 is the affinity A, Eq. 4 the loss, whose
    sum over i is taken as a mean. Point i of the student and point i' of the teacher are the same
    place of the image. Left at None, the keyword arguments give the paper's default, its strategy 1
    (section 4.5.2):

    ======== ======================= =======================
    strategy teacher                 student
    ======== ======================= =======================
    1        key . keys              query . keys
    2        query . keys            query . queries
    3        key . keys              query . queries
    ======== ======================= =======================

    Args:
        query, key: (B, P, D), index-paired points, normalised inside.
        student_temperature, teacher_temperature: :math:`\tau_s`, :math:`\tau_t`.
        teacher: (B, P, D), the points i'; None: ``key``.
        candidates: (B, P, D), what the student compares with; None: ``key``.
        teacher_candidates: (B, P, D), what the teacher compares with; None: ``key``.
        valid: (B, P) bool; a point that is not valid is neither i nor k. None: all are.
        negatives: "batch": candidates are the points of all images. "image": of the own image.
        other_keys: (M, D), further candidates of both sides, such as the keys of other processes.
        exclude_self: leave the pair of a point with itself out of both distributions.
        max_entries: largest number of similarities that are held at once.

    Returns:
        Scalar in float32 or better; no gradient reaches the teacher's side. Without a valid point
        a zero that keeps the graph.
    """
    candidates = key.detach() if candidates is None else candidates
    teacher = key if teacher is None else teacher
    teacher_candidates = key if teacher_candidates is None else teacher_candidates
    if valid is None:
        valid = torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
    sets = (query, candidates, teacher.detach(), teacher_candidates.detach())
    points = [F.normalize(x, dim=2) for x in sets]
    if other_keys is not None:
        other_keys = F.normalize(other_keys.to(query.dtype), dim=1)
    require_one_of("negatives", negatives, NEGATIVES)
    if negatives == "batch":
        groups = [(*(x.flatten(0, 1) for x in points), valid.flatten())]
    else:
        groups = list(zip(*points, valid))
    temperatures = student_temperature, teacher_temperature
    total, count = points[0].sum() * 0, 0
    for *group, keep in groups:
        group = [x[keep] for x in group]
        total = total + _sum_over_points(
            *group, temperatures, other_keys, exclude_self, max_entries
        )
        count += len(group[0])
    return total / max(count, 1)


def _sum_over_points(
    query,
    candidates,
    teacher,
    teacher_candidates,
    temperatures,
    other_keys,
    exclude_self,
    max_entries,
):
    """Sum of the cross-entropies of the points of a group.

    Shapes: query, candidates, teacher, teacher_candidates (n, D), other_keys (M, D) or None.
    """
    if other_keys is not None:
        candidates, teacher_candidates = (
            torch.cat([x, other_keys.to(x)]) for x in (candidates, teacher_candidates)
        )
    if len(candidates) <= exclude_self:  # a point alone has nothing to compare with
        return query.sum() * 0

    def summed(query, teacher, index):
        student = query @ candidates.T / temperatures[0]  # (n, K)
        target = teacher @ teacher_candidates.T / temperatures[1]
        if exclude_self:
            rows = torch.arange(len(index), device=index.device)
            target = target.index_put((rows, index), target.new_tensor(-torch.inf))
            # the student's own entry is left out of its normaliser; its share is then 0 * finite
            student = student.index_put((rows, index), student.new_tensor(-1e4))
        return F.cross_entropy(student, target.softmax(dim=1), reduction="sum")

    index = torch.arange(len(query), device=query.device)
    return over_chunks(summed, (query, teacher, index), len(candidates), max_entries)
