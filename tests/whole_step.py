"""One recorded step of a method: what the mapper showed, what the encoders gave, what was drawn.

The truth about the geometry is what reached the pixels: the crop, the side and the flip of every
call of the renderer. No affine map and nothing of ``dense_ssl.modeling.geometry`` is used.
"""

from collections import namedtuple

import torch
from detectron2.modeling import build_model
from helpers import tiny_config

from dense_ssl.data.views.mapper import MultiViewMapper

COUNT = 6

Step = namedtuple("Step", "model shown online target losses drawn")


class Shown:
    """The part of an image that a view shows: its crop, the side of the view, mirrored or not."""

    def __init__(self, crop, side, flip):
        self.crop, self.side, self.flip = crop, side, flip

    def to_view(self, x, y):
        """A place of the image in pixels of the view."""
        left, top, width, height = self.crop
        u, v = (x - left) * self.side / width, (y - top) * self.side / height
        return (self.side - u if self.flip else u), v

    def to_image(self, u, v):
        """A place of the view in pixels of the image."""
        left, top, width, height = self.crop
        u = self.side - u if self.flip else u
        return left + u * width / self.side, top + v * height / self.side

    def shows(self, x, y):
        """True where a place of the image lies in the view, whose borders begin at 0."""
        return all(0 <= z < self.side for z in self.to_view(x, y))

    def box(self, x1, y1, x2, y2):
        """A box of the image in pixels of the view, cut to the view."""
        (a, b), (c, d) = self.to_view(x1, y1), self.to_view(x2, y2)
        ends = min(a, c), min(b, d), max(a, c), max(b, d)
        return [min(max(z, 0.0), self.side) for z in ends]

    def zoom(self):
        """View pixels per image pixel, along x and y."""
        return self.side / self.crop[2], self.side / self.crop[3]


def shared_part(first, second):
    """The box (x1, y1, x2, y2) that two views both show; without area where they do not."""
    low = [max(first.crop[a], second.crop[a]) for a in (0, 1)]
    high = [min(x.crop[a] + x.crop[2 + a] for x in (first, second)) for a in (0, 1)]
    return (*low, *high)


def smallest_sides(first, second, pixels):
    """Width and height in the image of ``pixels`` view pixels, in the view of lower zoom."""
    return [pixels / min(first.zoom()[a], second.zoom()[a]) for a in (0, 1)]


def record_step(monkeypatch, files, method, *options, draws=(), seed=43):
    """Run one step of a method in float64, from image files to gradients.

    Args:
        files: COUNT image files. method: a META_ARCHITECTURE. options: yacs pairs.
        draws: (module, name) of functions that draw boxes or points; their results are recorded.

    Returns:
        Step: the model; ``shown[view][image]``; ``online[view]`` and ``target[view]``, {name: map},
        with gradients; the losses; ``drawn``, a list of what was drawn.
    """
    cfg = tiny_config(method, "unused", "unused", "INPUT.VIEWS.CROP_SCALE", ((0.1, 0.6),),
                      "INPUT.VIEWS.MIN_OVERLAP", 0, *options)  # fmt: skip
    shown, samples = _map(monkeypatch, cfg, files, seed)
    torch.manual_seed(seed)
    model = build_model(cfg).double()
    _move_target(model)
    drawn = [_record(monkeypatch, *place) for place in draws]
    maps = [_record_maps(model, x, samples) for x in (model.backbone, model.target_backbone)]
    losses = model(samples)
    sum(losses.values()).backward()
    return Step(model, shown, *maps, losses, [y for x in drawn for y in x])


def _map(monkeypatch, cfg, files, seed):
    mapper, calls = MultiViewMapper(cfg), []
    render = mapper.render

    def recorded(image, crop, side, interpolation, flip, photometry):
        calls.append(Shown(crop, side, flip))
        return render(image, crop, side, interpolation, flip, photometry)

    mapper.render = recorded
    samples = [mapper({"file_name": x}, seed=[seed, i]) for i, x in enumerate(files)]
    return [calls[v :: len(samples[0]["views"])] for v in range(len(samples[0]["views"]))], samples


def _move_target(model):
    """Let the target differ from the online network, as it does after the first step."""
    with torch.no_grad():
        for name, x in model.named_parameters():
            if "target_" in name:
                x.mul_(1 + 0.1 * torch.randn_like(x)).add_(0.02 * torch.randn_like(x))


def _record(monkeypatch, module, name):
    function, results = getattr(module, name), []

    def recorded(*args, **kwargs):
        results.append(function(*args, **kwargs))
        return results[-1]

    monkeypatch.setattr(module, name, recorded)
    return results


def _record_maps(model, encoder, samples):
    """Fill {view: {name: map}} when the encoder runs; a pass is recognised by its images."""
    views, found = range(len(samples[0]["views"])), {}
    mean, std = model.pixel_mean, model.pixel_std
    inputs = [
        torch.stack([(x["views"][v]["image"].double() - mean) / std for x in samples])
        for v in views
    ]

    def keep(module, args, output):
        kept = {name: [] for name in output}
        for images, rows in zip(args[0].split(len(samples)), range(0, 10**6, len(samples))):
            (view,) = [v for v in views if inputs[v].shape == images.shape
                       and torch.allclose(inputs[v], images)]  # fmt: skip
            found[view] = {}
            for name, x in output.items():
                part = x[rows : rows + len(samples)].detach().requires_grad_(x.requires_grad)
                found[view][name] = part
                kept[name].append(part)
        return {name: torch.cat(parts) for name, parts in kept.items()}

    encoder.register_forward_hook(keep)
    return found
