"""The grader's CNN: one grey slice to a vector of features; small, or of torchvision or timm."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from utils.errors import LumbarError
from utils.files import reason
from utils.models.blocks import ConvBlock
from utils.models.vision import torchvision
from utils.presets import Preset

GET_TIMM = "`pip install timm` (on Colab it is there)"


class BackboneError(LumbarError):
    """A backbone that does not exist or cannot be made, or pretrained weights that cannot be
    had."""


def backbone(preset: Preset) -> nn.Module:
    """A CNN from standardised slices (n, 1, px, px), as ImageNet's models expect them, to features
    (n, D), D being preset.features.

    A name that both torchvision and timm know is torchvision's; one with the tag of its weights
    ("resnet50.a1_in1k") is timm's. Raises BackboneError.
    """
    if preset.backbone == "small":
        return _small_cnn(preset.features)
    if preset.backbone in _torchvision_names():
        net = _torchvision_model(preset)
    else:
        net = _timm_model(preset)
    return nn.Sequential(_GreyToColour(), net)


def _small_cnn(features: int) -> nn.Module:
    """Four blocks, each of which halves the resolution, and the mean over what is left."""
    widths = (16, 32, 64, features)
    stages = [ConvBlock(a, b, stride=2) for a, b in zip((1, *widths), widths)]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _torchvision_model(preset: Preset) -> nn.Module:
    """With ImageNet weights if the preset wants them."""
    weights = "DEFAULT" if preset.pretrained else None
    try:
        net = torchvision.models.get_model(preset.backbone, weights=weights)
    except (OSError, RuntimeError) as error:  # no network; a download that is damaged
        if not preset.pretrained:
            raise
        raise _without_weights(preset, error) from error
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
    name, classifier = layers[-1]  # ImageNet's thousand classes; features take its place
    net.set_submodule(name, nn.Linear(classifier.in_features, preset.features))
    return net


def _timm_model(preset: Preset) -> nn.Module:
    """With the weights that timm names by default, if the preset wants any; features in the place
    of its classes."""
    timm = _timm(preset.backbone)
    if not timm.is_model(preset.backbone):
        raise BackboneError(_unknown(preset.backbone, timm.list_models()))
    options: dict[str, Any] = {"num_classes": preset.features, "pretrained": preset.pretrained}
    try:
        expects = timm.get_pretrained_cfg(preset.backbone)
        if expects is not None and expects.fixed_input_size:  # a transformer's, with positions
            options["img_size"] = preset.crop_px
        return timm.create_model(preset.backbone, **options)
    except OSError as error:
        raise _without_weights(preset, error) from error
    except Exception as error:  # timm raises all kinds, for a tag that does not exist, say
        raise BackboneError(
            f"timm makes no {preset.backbone} of crops of {preset.crop_px} px ({reason(error)}); "
            "choose another backbone, or another crop_px"
        ) from error


def _timm(name: str) -> ModuleType:
    """The package. Raises BackboneError where it is not installed."""
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        unknown = _unknown(name, _torchvision_names())
        raise BackboneError(f"{unknown}. If it is one of timm's: {GET_TIMM}") from error


def _torchvision_names() -> list[str]:
    """Of classification models."""
    return torchvision.models.list_models(module=torchvision.models)


def _unknown(name: str, known: list[str]) -> str:
    """The start of a message."""
    near = difflib.get_close_matches(name, ["small", *known]) or ["small"]
    return f"no backbone {name!r} is here; there is {', '.join(near)}"


def _without_weights(preset: Preset, error: Exception) -> BackboneError:
    """For weights that cannot be downloaded: random ones in their place would be another run under
    the same name."""
    return BackboneError(
        f"ImageNet weights for {preset.backbone} cannot be downloaded ({reason(error)}). Run "
        "this again with a network; or begin with random weights (which learn less): "
        "PRESET = presets.replace(PRESET, pretrained=False)"
    )


class _GreyToColour(nn.Module):
    """(n, 1, H, W) grey -> (n, 3, H, W)"""

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(-1, 3, -1, -1)
