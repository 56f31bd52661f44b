"""torchvision, importable also where its compiled operators are not.

A CPU-only torch beside the CUDA wheel of torchvision (what `pip install torch==…+cpu torchvision`
can give) cannot load those operators. `import torchvision` then fails, although models and
transforms need none of them. Declaring the operators' names is enough for the import.
"""

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::" not in str(error):
        raise
    _library = torch.library.Library("torchvision", "DEF")
    _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

__all__ = ["torchvision"]
