"""Point-level region contrast (Bai et al. 2022): the points of a region find each other."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch.nn import functional as F

from ...losses import affinity_distillation, point_region_contrast
from ...losses.precision import at_least_float32
from ...utils.distributed import other_rows, weigh_by_count
from ...utils.events import is_logged, iteration_or_none, log_feature_std, put_scalar
from ...visualization.regions import draw_affinity, draw_regions
from ..backbones import feature_shape
from ..geometry.points import mean_over_regions, read_points
from ..geometry.region_sampling import RegionSampler
from ..heads import MLPHead, on_cells
from ..objective import OBJECTIVE_REGISTRY, Objective
from ..pretrainer import Pretrainer
from .moco_v2 import MoCoObjective
from .point_region_keys import check_point_region_keys

# The teacher's temperature at the start of a warm-up of mode "teacher_temp".
_FIRST_TEACHER_TEMPERATURE = 0.04
# The log looks at so many points.
_LOGGED_POINTS = 256
# Pictures show what so many points of an image are similar to.
_DRAWN_POINTS = 3


@OBJECTIVE_REGISTRY.register()
class PointRegionObjective(Objective):
    """Eq. 5: alpha times the contrast of Eq. 2 plus 1 - alpha times the distillation of Eq. 4.

    The first view is the query, the second the key. The image loss of Eq. 6 is
    :class:`~dense_ssl.modeling.methods.moco_v2.MoCoObjective`, beside it in the META_ARCHITECTURE.
    An image whose views share no region has no part in either loss.
    """

    node, label = "PLRC", "plrc"

    @configurable
    def __init__(
        self,
        *,
        in_feature,
        in_channels,
        hidden_dim,
        out_dim,
        sampler,
        level,
        negatives,
        temperature,
        student_temperature,
        teacher_temperature,
        strategy,
        exclude_self,
        alpha,
        warmup_iters,
        warmup_mode,
        shared_head=False,
    ):
        """
        Args:
            in_feature, in_channels: name of the feature map, and its channels.
            hidden_dim, out_dim: widths of the head; a hidden width of 0 is that of the map.
            sampler: :class:`~dense_ssl.modeling.geometry.region_sampling.RegionSampler`.
            level: "point", or "region": regions averaged over their cells.
            negatives: from the own "image", the "batch" of this process, or "all" processes.
            temperature: of Eq. 2.
            student_temperature, teacher_temperature: of Eq. 4.
            strategy: of the distillation: 1, 2 or 3, section 4.5.2.
            exclude_self: leave the pair of a point with itself out of Eq. 3.
            alpha: weight of Eq. 2 against Eq. 4.
            warmup_iters: length of the warm-up.
            warmup_mode: "off": Eq. 2 alone; "teacher_temp": the teacher's temperature rises.
            shared_head: use the head of the image loss.
        """
        super().__init__()
        self.online_views, self.target_views = (0,), (0, 1) if strategy == 3 else (1,)
        self.in_feature = in_feature
        self.projector = MLPHead(in_channels, hidden_dim or in_channels, out_dim, output_bias=True)
        self.add_target("projector")
        self.sampler = sampler
        self.level = level
        self.negatives = negatives
        self.temperature = temperature
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.strategy = strategy
        self.exclude_self = exclude_self
        self.alpha = alpha
        self.warmup_iters = warmup_iters
        self.warmup_mode = warmup_mode
        self.shared_head = shared_head

    @classmethod
    def from_config(cls, cfg, shapes):
        node = cfg.MODEL.PLRC
        check_point_region_keys(cfg)
        shape = feature_shape(shapes, node.IN_FEATURE, "MODEL.PLRC.IN_FEATURE")
        return {
            "in_feature": node.IN_FEATURE,
            "in_channels": shape.channels,
            "hidden_dim": node.HIDDEN_DIM,
            "out_dim": node.OUT_DIM,
            "sampler": RegionSampler(
                grid=node.GRID,
                num_regions=node.NUM_REGIONS,
                num_points=node.NUM_POINTS,
                resolution=node.RESOLUTION,
                paired=node.PAIRED_POINTS,
            ),
            "level": node.LEVEL,
            "negatives": node.NEGATIVES,
            "temperature": node.TEMPERATURE,
            "student_temperature": node.STUDENT_TEMPERATURE,
            "teacher_temperature": node.TEACHER_TEMPERATURE,
            "strategy": node.STRATEGY,
            "exclude_self": node.EXCLUDE_SELF,
            "alpha": node.ALPHA,
            "warmup_iters": node.WARMUP_ITERS,
            "warmup_mode": node.WARMUP_MODE,
            "shared_head": node.SHARED_HEAD,
        }

    @classmethod
    def resolve(cls, cfg, num_images):
        node = cfg.MODEL.PLRC
        if node.WARMUP_EPOCHS > 0:
            per_epoch = num_images / cfg.SOLVER.IMS_PER_BATCH
            node.WARMUP_ITERS = round(node.WARMUP_EPOCHS * per_epoch)

    def join(self, objectives):
        images = [x for x in objectives.values() if type(x) is MoCoObjective]
        if not self.shared_head or not images:  # without the image loss the head is its own
            return
        if not images[0].pool_after_head:
            raise ValueError(
                "MODEL.PLRC.SHARED_HEAD True needs MODEL.MOCO.POOL_AFTER_HEAD True: a head that is "
                "shared runs on the map, and the image's vector is the mean of that."
            )
        self.share_heads(images[0])

    def forward(self, views, passes):
        sample = self.sampler.sample(*views[:2])
        query = self._embed(self.projector, passes.online(0), views[0], sample, 0)
        with torch.no_grad():
            key = self._embed(self.target_projector, passes.target(1), views[1], sample, 1)
        regions = sample.drawn if self.level == "region" else sample.point_regions
        valid = regions >= 0
        others = other_rows(key.detach(), valid) if self.negatives == "all" else None
        negatives = "image" if self.negatives == "image" else "batch"  # of this process
        alpha, teacher_temperature = self._schedule()
        losses = {}
        if alpha > 0:
            losses["loss_point_contrast"] = alpha * point_region_contrast(
                query,
                key,
                regions,
                regions,
                self.temperature,
                negatives=negatives,
                other_keys=others,
            )
        if alpha < 1:
            losses["loss_point_affinity"] = (1 - alpha) * affinity_distillation(
                query,
                key,
                self.student_temperature,
                teacher_temperature,
                valid=valid,
                negatives=negatives,
                other_keys=others,
                exclude_self=self.exclude_self,
                **self._strategy(query, views, passes, sample),
            )
        self._log(query, key, regions, sample)
        count = valid.sum().to(query.dtype)
        return {name: weigh_by_count(loss, count) for name, loss in losses.items()}

    def _embed(self, head, features, view, sample, index):
        """Feature maps -> (N, Q, D), one vector per point or per region."""
        dense = at_least_float32(on_cells(head, features[self.in_feature]))  # (N, D, H, W)
        with torch.autocast(dense.device.type, enabled=False):
            if self.level == "point":
                return read_points(dense, sample.points[index], view.size)
            region_map = sample.region_maps[index]
            side = round(region_map.shape[1] ** 0.5)
            return mean_over_regions(dense, region_map, sample.drawn, side)

    def _strategy(self, query, views, passes, sample):
        """Who is teacher and whom the student compares with, by section 4.5.2."""
        if self.strategy == 1:
            return {}
        if self.strategy == 2:
            return {"teacher": query, "candidates": query}
        with torch.no_grad():  # the extra pass: the query's view through the momentum encoder
            teacher = self._embed(self.target_projector, passes.target(0), views[0], sample, 0)
        return {"teacher": teacher, "teacher_candidates": teacher, "candidates": query}

    def _schedule(self):
        """(alpha, teacher's temperature) of this iteration."""
        iteration = iteration_or_none()
        if iteration is None or iteration >= self.warmup_iters:
            return self.alpha, self.teacher_temperature
        if self.warmup_mode == "off":
            return 1.0, self.teacher_temperature
        share = iteration / self.warmup_iters
        first = _FIRST_TEACHER_TEMPERATURE
        return self.alpha, first + share * (self.teacher_temperature - first)

    @torch.no_grad()
    def _log(self, query, key, regions, sample):
        if not is_logged():
            return
        usable = sample.drawn[:, 0] >= 0
        put_scalar(f"{self.label}/overlap_rate", usable.float().mean())
        put_scalar(f"{self.label}/regions_per_image", sample.visible.sum(dim=1).float().mean())
        valid = (regions >= 0).flatten()
        images = torch.arange(len(query), device=query.device)[:, None]
        label = (regions + images * (sample.visible.shape[1] + 1)).flatten()[valid]
        query, key = (F.normalize(x.flatten(0, 1)[valid], dim=1) for x in (query, key))
        log_feature_std(f"{self.label}/feature_std", query)
        if not len(query):
            return
        rows = slice(None, None, -(-len(query) // _LOGGED_POINTS))
        nearest = (query[rows] @ key.T).argmax(dim=1)
        put_scalar(f"{self.label}/top1", (label[nearest] == label[rows]).float().mean())
        put_scalar(f"{self.label}/chance", (label[rows, None] == label).float().mean())

    def pictures(self, views, images, passes, scale):
        sample = self.sampler.sample(*views[:2])
        count = len(images[0])
        dense = passes.online(0)[self.in_feature][:count].float().cpu()
        points = sample.points[0][:count].cpu()
        step = max(points.shape[1] // _DRAWN_POINTS, 1)
        points = points[:, ::step][:, :_DRAWN_POINTS]
        vectors = read_points(dense, points, views[0].size)
        return {
            "views": draw_regions(images[:2], sample, scale),
            "affinity": draw_affinity(images[0], dense, vectors, points, scale),
        }


@META_ARCH_REGISTRY.register()
class PointRegionContrast(Pretrainer):
    """Eq. 6: beta times the loss of points and regions plus 1 - beta times MoCo's image loss."""

    objective_names = ("PointRegionObjective", "MoCoObjective")

    @classmethod
    def own_weights(cls, cfg):
        beta = cfg.MODEL.PLRC.BETA
        return beta, 1 - beta
