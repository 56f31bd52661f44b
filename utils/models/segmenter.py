"""Which structure is where? A U-Net on slices of one plane and one scale, whatever their
brightness."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from utils.models.locator import UNet
from utils.structures import SAGITTAL, Plane

WIDTH = 16
# Side of the square in which intensities are made even; less than two vertebrae, so that a coil's
# fall-off is gone, and more than one, so that a vertebra is not.
EVEN_MM = 31.0
LEAST_SPREAD = 0.05  # added to the standard deviation of a square: air is not made noise
MOST = 3.0  # standard deviations from the mean; what is further off is no tissue's contrast


class Segmenter(nn.Module):
    """Slices of one plane -> logits of its structures.

    It learns from phantoms alone, and what it must not learn from them is how bright a tissue is.
    """

    def __init__(self, plane: Plane = SAGITTAL) -> None:
        super().__init__()
        self.plane = plane
        self.net = UNet(plane.structures, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in 0..1, with pixels of the plane's mm and sides that are multiples of 32 ->
        logits (n, structures, H, W)."""
        maps = self.net(even(x, self.plane.mm))
        return F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False)


def even(x: Tensor, mm: float) -> Tensor:
    """Images (n, 1, H, W) with pixels of so many mm, each pixel against the mean and the spread of
    its surroundings: a coil fades with depth, tissues do not."""
    half = round(EVEN_MM / mm / 2 - 0.5)
    mean, square = _smoothed(x, half), _smoothed(x * x, half)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    return ((x - mean) / (spread + LEAST_SPREAD)).clamp(-MOST, MOST) / (2 * MOST) + 0.5


def _smoothed(x: Tensor, half: int) -> Tensor:
    """The mean of a square round each pixel, `half` to each side, first along rows, then along
    columns."""
    padded, side = F.pad(x, (half, half, half, half), mode="replicate"), 2 * half + 1
    return F.avg_pool2d(F.avg_pool2d(padded, (1, side), 1), (side, 1), 1)
