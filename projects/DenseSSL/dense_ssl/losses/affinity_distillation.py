"""Point affinity distillation, the second loss of point-level region contrast."""

import torch
import torch.nn.functional as F

from ..utils.checks import require_one_of
from .candidates import NEGATIVES, group_points, with_others
from .log_sum_exp import log_sum_exp, softmax_mean
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
    require_one_of("negatives", negatives, NEGATIVES)
    candidates = key.detach() if candidates is None else candidates
    teacher = key if teacher is None else teacher
    teacher_candidates = key if teacher_candidates is None else teacher_candidates
    if valid is None:
        valid = torch.ones(query.shape[:2], dtype=torch.bool, device=query.device)
    sets = (query, candidates, teacher.detach(), teacher_candidates.detach())
    query, candidates, teacher, teacher_candidates = (
        group_points(F.normalize(x, dim=2), negatives) for x in sets
    )
    if other_keys is not None:
        other_keys = F.normalize(other_keys.to(query.dtype), dim=1)
    valid = group_points(valid, negatives)  # (G, n)
    candidates, usable = with_others(candidates, valid, other_keys)
    teacher_candidates, _ = with_others(teacher_candidates, valid, other_keys)
    # a point that is alone has nothing to compare with
    weights = valid & (usable.sum(dim=1, keepdim=True) > exclude_self)

    query, teacher = query / student_temperature, teacher / teacher_temperature
    options = {"exclude_self": exclude_self, "max_entries": max_entries}
    # sum_k A' log A is linear in the student's logits, apart from their normaliser
    total = log_sum_exp(query, candidates, usable, **options)  # (G, n)
    target = softmax_mean(teacher, teacher_candidates, candidates, usable, **options)  # (G, n, D)
    terms = (total - (query * target).sum(dim=2)) * weights
    return terms.sum() / valid.sum().clamp(min=1)
