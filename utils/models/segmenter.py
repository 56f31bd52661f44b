"""Which structure is where? A U-Net on sagittal slices of one scale, whatever their brightness."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from utils.models.locator import UNet
from utils.structures import STRUCTURES

MM = 1.0  # of a pixel of the slices it is given
WIDTH = 16
# Side of the square in which intensities are made even; less than two vertebrae, so that a coil's
# fall-off is gone, and more than one, so that a vertebra is not.
EVEN_PX = 31
LEAST_SPREAD = 0.05  # added to the standard deviation of a square: air is not made noise
MOST = 3.0  # standard deviations from the mean; what is further off is no tissue's contrast


class Segmenter(nn.Module):
    """Sagittal slices -> logits of STRUCTURES.

    It learns from phantoms alone, and what it must not learn from them is how bright a tissue is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet(len(STRUCTURES), WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, H, W) in 0..1, MM a pixel, sides multiples of 32 -> logits (n, structures, H,
        W)."""
        return F.interpolate(self.net(even(x)), x.shape[-2:], mode="bilinear", align_corners=False)


def even(x: Tensor) -> Tensor:
    """Images (n, 1, H, W), each pixel against the mean and the spread of its surroundings: a coil
    fades with depth, tissues do not."""
    mean, square = _smoothed(x), _smoothed(x * x)
    spread = (square - mean * mean).clamp(min=0).sqrt()
    return ((x - mean) / (spread + LEAST_SPREAD)).clamp(-MOST, MOST) / (2 * MOST) + 0.5


def _smoothed(x: Tensor) -> Tensor:
    """The mean of a square round each pixel, first along rows, then along columns."""
    half = EVEN_PX // 2
    padded = F.pad(x, (half, half, half, half), mode="replicate")
    return F.avg_pool2d(F.avg_pool2d(padded, (1, EVEN_PX), 1), (EVEN_PX, 1), 1)
