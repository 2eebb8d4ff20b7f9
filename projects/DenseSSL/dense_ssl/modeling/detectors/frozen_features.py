"""What classifiers on a frozen backbone have in common."""

import torch
from torch import nn

from ..backbones import extract_features, pixel_values
from ..dropout import remove_dropout


class FrozenFeatures(nn.Module):
    """A backbone without gradient and dropout.

    Its batch norms follow ``train()``: they use the statistics of the batch while a classifier
    learns, and track running ones for the test. MODEL.FREEZE_BACKBONE holds them as they are.
    """

    def __init__(self, backbone, pixel_mean, pixel_std):
        """
        Args:
            backbone: of detectron2.
            pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        """
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        remove_dropout(backbone)
        self.register_buffer("pixel_mean", pixel_values(pixel_mean), False)
        self.register_buffer("pixel_std", pixel_values(pixel_std), False)

    @property
    def device(self):
        return self.pixel_mean.device

    @torch.no_grad()
    def maps(self, batched_inputs):
        """Return {map: (N, C, h, w)} of the "image" of each dict; all images have one size."""
        images = torch.stack([x["image"] for x in batched_inputs]).to(self.device)
        return extract_features(self.backbone, (images - self.pixel_mean) / self.pixel_std)

    def restart_statistics(self):
        """Forget the running statistics of all batch norms, so that they are tracked anew."""
        for module in self.backbone.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()


def linear_layer(channels, classes):
    """A linear layer as MoCo's and OpenSelfSup's protocols start it: N(0, 0.01), no bias yet."""
    layer = nn.Linear(channels, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer
