"""Point affinity distillation, its strategies and its warm-up (Bai et al. 2022, section 3.3)."""

from ..losses import affinity_distillation
from ..utils.checks import require_one_of
from ..utils.events import iteration_or_none

STRATEGIES = (1, 2, 3)
WARMUP_MODES = ("off", "teacher_temp")
# The teacher's temperature at the start of a warm-up of mode "teacher_temp".
_FIRST_TEACHER_TEMPERATURE = 0.04


class PointDistillation:
    """The loss of Eq. 4 by one of the three strategies of section 4.5.2."""

    def __init__(
        self,
        *,
        student_temperature,
        teacher_temperature,
        strategy=1,
        exclude_self=False,
        warmup_iters=0,
        warmup_mode="off",
    ):
        """
        Args:
            student_temperature, teacher_temperature: of Eq. 3.
            strategy: 1: key points teach query points; 2: query points among the keys teach query
                points among themselves; 3: as 2, taught by the query's view in the momentum
                encoder, which takes one more pass.
            exclude_self: leave out the pair of a point with itself.
            warmup_iters: length of the warm-up.
            warmup_mode: "off": no distillation during the warm-up; "teacher_temp": the teacher's
                temperature rises from 0.04.
        """
        require_one_of("MODEL.PLRC.STRATEGY", strategy, STRATEGIES)
        require_one_of("MODEL.PLRC.WARMUP_MODE", warmup_mode, WARMUP_MODES)
        self.student_temperature = student_temperature
        self.last_teacher_temperature = teacher_temperature
        self.strategy = strategy
        self.exclude_self = exclude_self
        self.warmup_iters = warmup_iters
        self.warmup_mode = warmup_mode

    def __call__(self, query, key, valid, teacher=None, **candidates):
        """Return the loss.

        Args:
            query, key: (N, Q, D), paired by index. valid: (N, Q) bool.
            teacher: (N, Q, D), the points of the query's view in the momentum encoder; strategy 3.
            candidates: ``negatives`` and ``other_keys`` of
                :func:`~dense_ssl.losses.affinity_distillation`.
        """
        sides = {
            1: {},
            2: {"teacher": query, "candidates": query},
            3: {"teacher": teacher, "teacher_candidates": teacher, "candidates": query},
        }[self.strategy]
        return affinity_distillation(
            query,
            key,
            self.student_temperature,
            self.teacher_temperature,
            valid=valid,
            exclude_self=self.exclude_self,
            **sides,
            **candidates,
        )

    @property
    def warmup(self):
        """The share of the warm-up that is over; 1 after it, and outside of training."""
        iteration = iteration_or_none()
        if iteration is None or iteration >= self.warmup_iters:
            return 1.0
        return iteration / self.warmup_iters

    @property
    def is_off(self):
        """True during a warm-up without distillation."""
        return self.warmup_mode == "off" and self.warmup < 1

    @property
    def teacher_temperature(self):
        """The teacher's temperature at this iteration."""
        last = self.last_teacher_temperature
        if self.warmup_mode == "off":
            return last
        return _FIRST_TEACHER_TEMPERATURE + self.warmup * (last - _FIRST_TEACHER_TEMPERATURE)
