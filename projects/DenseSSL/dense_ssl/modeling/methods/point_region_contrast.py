"""Point-level region contrast (Bai et al. 2022): the points of a region find each other."""

import torch
from detectron2.config import CfgNode as CN
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from ...losses import point_region_contrast
from ...utils.checks import require_one_of, require_positive
from ...utils.distributed import other_rows, weigh_by_count
from ...utils.events import is_logged, log_feature_std, put_scalar
from ...visualization.regions import draw_affinity, draw_regions
from ..backbones import require_feature
from ..geometry.points import mean_over_regions, read_points, share_in_region
from ..geometry.region_sampling import RegionSampler
from ..heads import MLPHead, on_cells
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..point_distillation import PointDistillation
from ..pretrainer import Pretrainer
from .moco_v2 import MoCoObjective

LEVELS = ("point", "region")
NEGATIVES = ("image", "batch", "all")
# Pictures show what this many points of an image are similar to.
_DRAWN_POINTS = 3


@OBJECTIVE_REGISTRY.register()
class PointRegionObjective(Objective):
    """Eq. 5: alpha times the contrast of Eq. 2 plus 1 - alpha times the distillation of Eq. 4.

    The first view is the query, the second the key. Eq. 2 compares points that each view draws on
    its own, Eq. 4 places that both views show; both sets lie in the same drawn regions. The image
    loss of Eq. 6 is :class:`~dense_ssl.modeling.methods.moco_v2.MoCoObjective`, beside it in the
    META_ARCHITECTURE. An image whose views share no region takes part in neither loss.
    """

    node, label = "PLRC", "plrc"
    single_cell = False  # points of different regions would have the same features

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        projector,
        sampler,
        alpha,
        temperature,
        distillation,
        level="point",
        negatives="batch",
        shared_head=False,
    ):
        """
        Args:
            in_feature: name of the feature map.
            projector: head, (N, C) -> (N, D).
            sampler: :class:`~dense_ssl.modeling.geometry.region_sampling.RegionSampler`.
            alpha: weight of Eq. 2 against Eq. 4.
            temperature: of Eq. 2.
            distillation: :class:`~dense_ssl.modeling.point_distillation.PointDistillation`, Eq. 4.
            level: "point", or "region": regions averaged over their cells.
            negatives: from the own "image", the "batch" of this process, or "all" processes.
            shared_head: use the head of the image loss.
        """
        super().__init__()
        self.online_views = (0,)
        self.in_feature = in_feature
        self.projector = projector
        self.add_target("projector")
        self.sampler = sampler
        self.alpha = alpha
        self.temperature = temperature
        self.distillation = distillation
        self.level = level
        self.negatives = negatives
        self.shared_head = shared_head

    @classmethod
    def add_config(cls, cfg):
        node = cfg.MODEL.PLRC = CN()
        # Feature map, widths of the head on its cells (hidden 0: that of the map).
        node.IN_FEATURE = "res5"
        node.HIDDEN_DIM = 0
        node.OUT_DIM = 128
        # One head for points and for the image loss (needs MODEL.MOCO.POOL_AFTER_HEAD True).
        node.SHARED_HEAD = False
        # Grid of regions on the image (n x n), unless INPUT.REGIONS provides others.
        node.GRID = 4
        # Regions drawn per image (N), points per region (P), cells of a view along each axis (R).
        node.NUM_REGIONS = 16
        node.NUM_POINTS = 16
        node.RESOLUTION = 64
        # False: for Eq. 2 each view draws its own points in the part of a region that it shows, as
        # the paper follows DetCon; Eq. 4 has a second draw, of places that both views show.
        # True: places that both views show, the same for Eq. 2 and Eq. 4.
        node.PAIRED_POINTS = False
        # "point", or "region": one vector per region, the mean over its cells.
        node.LEVEL = "point"
        # Negatives of both losses from the own "image", the "batch" of the process, or "all"
        # processes.
        node.NEGATIVES = "batch"
        node.TEMPERATURE = 0.2
        # Affinity distillation: temperatures; strategy 1, 2 or 3 (section 4.5.2); leave out the
        # pair of a point with itself.
        node.STUDENT_TEMPERATURE = 0.1
        node.TEACHER_TEMPERATURE = 0.07
        node.STRATEGY = 1
        node.EXCLUDE_SELF = False
        # Weight of the contrast against distillation (alpha), of both against the image loss (beta,
        # of META_ARCHITECTURE "PointRegionContrast").
        node.ALPHA = 0.5
        node.BETA = 0.7
        # Warm-up in epochs (above 0 it replaces WARMUP_ITERS): no distillation ("off"), or one with
        # a teacher's temperature that rises from 0.04 ("teacher_temp").
        node.WARMUP_EPOCHS = 0
        node.WARMUP_ITERS = 0
        node.WARMUP_MODE = "off"

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.PLRC
        _check(cfg)
        channels = require_feature(shapes, node.IN_FEATURE, "MODEL.PLRC.IN_FEATURE").channels
        return {
            "in_feature": node.IN_FEATURE,
            "projector": MLPHead(
                channels, node.HIDDEN_DIM or channels, node.OUT_DIM, output_bias=True
            ),
            "sampler": RegionSampler(
                grid=node.GRID,
                num_regions=node.NUM_REGIONS,
                num_points=node.NUM_POINTS,
                resolution=node.RESOLUTION,
                paired=node.PAIRED_POINTS,
            ),
            "alpha": node.ALPHA,
            "temperature": node.TEMPERATURE,
            "distillation": PointDistillation(
                student_temperature=node.STUDENT_TEMPERATURE,
                teacher_temperature=node.TEACHER_TEMPERATURE,
                strategy=node.STRATEGY,
                exclude_self=node.EXCLUDE_SELF,
                warmup_iters=node.WARMUP_ITERS,
                warmup_mode=node.WARMUP_MODE,
            ),
            "level": node.LEVEL,
            "negatives": node.NEGATIVES,
            "shared_head": node.SHARED_HEAD,
        }

    @classmethod
    def resolve(cls, cfg, num_images):
        node = cfg.MODEL.PLRC
        if node.WARMUP_EPOCHS > 0:
            per_epoch = num_images / cfg.SOLVER.IMS_PER_BATCH
            node.WARMUP_ITERS = round(node.WARMUP_EPOCHS * per_epoch)

    @property
    def target_views(self):
        """The key; for strategy 3 the query's view too, once it distils."""
        is_taught = self.distillation.strategy == 3 and not self.distillation.is_off
        return (0, 1) if is_taught else (1,)

    def join(self, objectives):
        images = [x for x in objectives.values() if type(x) is MoCoObjective]
        if not self.shared_head or not images:  # without the image loss the head is its own
            return
        if not images[0].pool_after_head:
            raise ValueError(
                "MODEL.PLRC.SHARED_HEAD True needs MODEL.MOCO.POOL_AFTER_HEAD True: a shared head "
                "runs on the map, and the image's vector is the mean of its output."
            )
        self.share_heads(images[0])

    def forward(self, views, passes):
        alpha = 1.0 if self.distillation.is_off else self.alpha
        # vectors of regions are paired as they are
        sample = self.sampler.sample(*views[:2], pairs=alpha < 1 and self.level == "point")
        maps = [self._project(self.projector, passes.online(0))]
        with torch.no_grad():
            maps.append(self._project(self.target_projector, passes.target(1)))
        contrasted = query, key, regions = self._read(maps, views, sample, sample.points)
        losses = {}
        if alpha > 0:  # Eq. 2
            loss = point_region_contrast(
                query, key, regions, regions, self.temperature, **self._candidates(key, regions)
            )
            losses["loss_point_contrast"] = alpha * _weigh(loss, regions)
        if alpha < 1:  # Eq. 4
            paired = contrasted
            if sample.pairs is not None:
                paired = self._read(maps, views, sample, sample.pairs)
            loss = self._distil(*paired, self._teacher(views, passes, sample))
            losses["loss_point_affinity"] = (1 - alpha) * _weigh(loss, paired[2])
        self._log(query, key, regions, sample)
        return losses

    def _project(self, head, features):
        """Feature maps -> (N, D, H, W)."""
        return on_cells(head, features[self.in_feature])

    def _read(self, maps, views, sample, points):
        """Return query and key, (N, Q, D), and the regions of both, (N, Q)."""
        query, key = (self._vectors(maps[i], views[i], sample, points, i) for i in (0, 1))
        return query, key, sample.drawn if self.level == "region" else points.regions

    def _vectors(self, dense, view, sample, points, index):
        """Projected map -> (N, Q, D), one vector per point or per region."""
        if self.level == "region":
            return mean_over_regions(dense, sample.region_maps[index], sample.drawn)
        return read_points(dense, points.xy[index], view.size)

    def _candidates(self, key, regions):
        """Where the negatives of both losses come from."""
        others = other_rows(key.detach(), regions >= 0) if self.negatives == "all" else None
        of_process = "image" if self.negatives == "image" else "batch"
        return {"negatives": of_process, "other_keys": others}

    def _distil(self, query, key, regions, teacher):
        candidates = self._candidates(key, regions)
        return self.distillation(query, key, regions >= 0, teacher, **candidates)

    @torch.no_grad()
    def _teacher(self, views, passes, sample):
        """The query's points of Eq. 4 in the momentum encoder, for strategy 3."""
        if self.distillation.strategy != 3:
            return None
        dense = self._project(self.target_projector, passes.target(0))
        return self._vectors(dense, views[0], sample, sample.pairs or sample.points, 0)

    @torch.no_grad()
    def _log(self, query, key, regions, sample):
        self.log_overlap(sample.drawn[:, 0] >= 0)
        if not is_logged():
            return
        log_feature_std(f"{self.label}/feature_std", query[regions >= 0])
        number = sample.visible.sum(dim=1).float().mean()
        put_scalar(f"{self.label}/regions_per_image", number)
        if sample.pairs is not None:
            share = (sample.pairs.regions >= 0).sum() / (regions >= 0).sum().clamp(min=1)
            put_scalar(f"{self.label}/paired_rate", share)
        if (regions >= 0).any():
            top1, chance = share_in_region(query, key, regions)
            put_scalar(f"{self.label}/top1", top1)
            put_scalar(f"{self.label}/chance", chance)

    def pictures(self, views, images, passes, scale):
        sample = self.sampler.sample(*views[:2], pairs=self.level == "point" and self.alpha < 1)
        count = len(images[0])
        dense = passes.online(0)[self.in_feature][:count].float().cpu()
        points = sample.points.xy[0][:count].cpu()
        step = max(points.shape[1] // _DRAWN_POINTS, 1)
        points = points[:, ::step][:, :_DRAWN_POINTS]
        vectors = read_points(dense, points, views[0].size)
        return {
            "views": draw_regions(images[:2], sample, scale),
            "affinity": draw_affinity(images[0], dense, vectors, points, scale),
        }


def _weigh(loss, regions):
    """A mean over the points of this process -> its share of the mean over all processes."""
    return weigh_by_count(loss, (regions >= 0).sum().to(loss.dtype))


def _check(cfg):
    """Raise where keys of MODEL.PLRC are unknown or do not fit together."""
    node = cfg.MODEL.PLRC
    require_one_of("MODEL.PLRC.LEVEL", node.LEVEL, LEVELS)
    require_one_of("MODEL.PLRC.NEGATIVES", node.NEGATIVES, NEGATIVES)
    positive = ("GRID", "NUM_REGIONS", "NUM_POINTS", "RESOLUTION", "TEMPERATURE",
                "STUDENT_TEMPERATURE", "TEACHER_TEMPERATURE")  # fmt: skip
    require_positive(cfg, *(f"MODEL.PLRC.{x}" for x in positive))
    if not (0 <= node.ALPHA <= 1 and 0 <= node.BETA <= 1):
        raise ValueError("MODEL.PLRC.ALPHA and MODEL.PLRC.BETA must lie between 0 and 1.")
    if node.ALPHA < 1 and node.NEGATIVES == "all" and node.STRATEGY != 1:
        raise ValueError(
            f"MODEL.PLRC.STRATEGY {node.STRATEGY} compares query points with each other, which are "
            "not exchanged between processes: set MODEL.PLRC.NEGATIVES to 'batch'."
        )


@META_ARCH_REGISTRY.register()
class PointRegionContrast(Pretrainer):
    """Eq. 6: beta times the loss of points and regions plus 1 - beta times MoCo's image loss."""

    objective_names = ("PointRegionObjective", "MoCoObjective")

    @classmethod
    def own_weights(cls, cfg):
        beta = cfg.MODEL.PLRC.BETA
        return beta, 1 - beta
