"""The grader's CNN: one grey slice to a vector of features, small or from torchvision."""

from __future__ import annotations

from torch import Tensor, nn

from utils.errors import LumbarError
from utils.files import reason
from utils.models.blocks import ConvBlock
from utils.models.vision import torchvision
from utils.presets import Preset


class BackboneError(LumbarError):
    """Pretrained weights that cannot be had."""


def backbone(preset: Preset) -> nn.Module:
    """A CNN from standardised slices (n, 1, px, px), as ImageNet's models expect them, to features
    (n, D), D being preset.features. Raises BackboneError."""
    if preset.backbone == "small":
        return _small_cnn(preset.features)
    net = _torchvision_model(preset)
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    name, classifier = layers[-1]  # ImageNet's thousand classes; features take its place
    net.set_submodule(name, nn.Linear(classifier.in_features, preset.features))
    return nn.Sequential(_GreyToColour(), net)


def _small_cnn(features: int) -> nn.Module:
    """Four blocks, each of which halves the resolution, and the mean over what is left."""
    widths = (16, 32, 64, features)
    stages = [ConvBlock(a, b, stride=2) for a, b in zip((1, *widths), widths)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _torchvision_model(preset: Preset) -> nn.Module:
    """With ImageNet weights if the preset wants them. Raises BackboneError where they cannot be
    downloaded: random ones in their place would be another run under the same name."""
    try:
        weights = "DEFAULT" if preset.pretrained else None
        return torchvision.models.get_model(preset.backbone, weights=weights)
    except (OSError, RuntimeError) as error:  # no network; a download that is damaged
        if not preset.pretrained:
            raise
        raise BackboneError(
            f"ImageNet weights for {preset.backbone} cannot be downloaded ({reason(error)}). Run "
            "this again with a network; or begin with random weights (which learn less): "
            f'PRESET = replace(get_preset("{preset.name}"), pretrained=False)'
        ) from error


class _GreyToColour(nn.Module):
    """(n, 1, H, W) grey -> (n, 3, H, W)"""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)
