"""ColorJitter changes brightness, contrast, saturation and hue."""

from __future__ import annotations

import dataclasses

import torch

from utils.data.setting_checks import check_setting, is_number


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Change brightness, then contrast, then saturation, then hue, always in this order.

    The first three are multiplied by factors from max(0, 1 - setting) to 1 + setting; the hue is shifted by at most
    `hue`, a fraction of the colour circle.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            check_setting(is_number(value) and value >= 0, f"{name} must be a number, 0 or more.", self)
        check_setting(self.hue <= 0.5, "hue must be at most 0.5, half of the colour circle.", self)

    def draw(self, draws, size):
        factors = {name: getattr(self, name) for name in ("brightness", "contrast", "saturation")}
        params = {name: draws.uniform(name, max(0.0, 1 - by), 1 + by) for name, by in factors.items() if by}
        if self.hue:
            params["hue"] = draws.uniform("hue", -self.hue, self.hue)
        return params

    def apply(self, images, params):
        for name, change in _JITTER.items():
            if name in params:
                images = change(images, params[name].view(-1, 1, 1, 1))
        return images


def grey(images):
    """Return the grey images, (B, 1, H, W), in whole levels as float32."""
    red, green, blue = images.split(1, dim=1)
    # The weights of red, green and blue in perceived brightness (ITU-R 601), with torchvision's number of digits.
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _brighten(images, factor):
    return (images * factor).clamp_(0, 255).to(torch.uint8)


def _blend(images, others, factor):
    """Mix the images (factor 1) with the other images (factor 0); larger factors extrapolate."""
    return (images * factor).addcmul_(others, 1 - factor).clamp_(0, 255).to(torch.uint8)


def _change_contrast(images, factor):
    return _blend(images, grey(images).mean((2, 3), keepdim=True), factor)


def _saturate(images, factor):
    return _blend(images, grey(images), factor)


def _turn_hue(images, turns):
    """Rotate every pixel's hue on the colour circle; the values of its largest and smallest channel do not change."""
    red, green, blue = images.to(torch.float32).split(1, dim=1)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = torch.maximum(torch.maximum(red, green), blue).sub_(low)
    # The hue in sixths of a turn: red is 0, yellow 1, green 2, cyan 3; with more blue than green, the same with a minus
    # sign. The textbook formula, with a case for each largest channel, takes twice as long. Grey has a span of 0.
    hue = (green + blue).sub_(red).sub_(low).div_(span.clamp_min(1)).add_(1).copysign_(green - blue).add_(6 * turns)
    hue.sub_((hue / 6).floor_(), alpha=6)
    red = (hue - 3).abs_().sub_(1)
    green = (hue - 2).abs_().neg_().add_(2)
    blue = (hue - 4).abs_().neg_().add_(2)
    # torchvision rounds with this factor: whole levels do not change, and 255 does not become 256.
    return torch.cat((red, green, blue), 1).clamp_(0, 1).mul_(span).add_(low).mul_(255.999 / 255).to(torch.uint8)


_JITTER = {"brightness": _brighten, "contrast": _change_contrast, "saturation": _saturate, "hue": _turn_hue}
