"""Memory and work of a training step on a GPU, counted without one.

python -m benchmarks.memory [--presets t4 l4 a100]

Tensors are fake: they have a shape, a type and a device, and no values. Two real steps of the
trainer's loss, backward pass, optimizer and average of the weights are run on them, and the sizes
of all storages alive at once are added. What is not counted: the CUDA context (0.3 to 0.5 GB), the
workspace of cuDNN, and fragmentation. Hours are an estimate: the floating-point operations of all
steps, at a third of what the card's data sheet says for matrices of 16 bits.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import CARD_GB, PATIENTS
from tests import pretended_gpu
from utils import cli
from utils.crops import MARGIN, with_margin
from utils.models import Grader, Locator, artefacts, intensity
from utils.presets import Preset, get_preset
from utils.rsna import TARGETS
from utils.training import GraderSample, LocatorSample, losses
from utils.training.locator_samples import Search
from utils.training.trainer import averaged
from utils.views import views_of

# TFLOP/s of 16-bit matrix products without sparsity, from NVIDIA's data sheets, and how much of it
# convolutions are taken to reach.
CARD_TFLOPS = {"t4": 65, "l4": 121, "a100": 312}
REACHED = 1 / 3
BLOCK = 512  # bytes in which CUDA gives memory
SEARCHES = {"canal": (1, 5), "foramen": (5, 1), "recess": (3, 2)}  # how many in an epoch, points


class Memory(TorchDispatchMode):
    """Counts the bytes of all storages on the device that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.alive = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0  # the optimizer's count of its steps
        result = func(*args, **(kwargs or {}))
        for tensor in tree.tree_leaves(result):
            if isinstance(tensor, FakeTensor) and tensor.device.type == "cuda":
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage) -> None:
        key = storage._cdata
        if key in self.sizes:
            return
        self.sizes[key] = -(-storage.nbytes() // BLOCK) * BLOCK
        self.alive += self.sizes[key]
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.alive -= self.sizes.pop(key, 0)


def step_costs(preset: Preset, model: str, half: torch.dtype) -> tuple[float, float]:
    """The most memory (GB) of two steps of the preset at full size, all views there, and the work
    of one (TFLOP)."""
    memory, work = Memory(), FlopCounterMode(display=False)
    real = (Grader if model == "grader" else Locator)(preset)
    with FakeTensorMode(allow_non_fake_inputs=True), memory, work, _without_values():
        net = _on_device(real)
        average = averaged(net, 0.9)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, foreach=True)
        batch, terms = (_grader_batch if model == "grader" else _locator_batch)(preset)
        for _ in range(2):
            with torch.autocast("cuda", half):
                found = terms(net, batch, preset)
            losses.mean_of(found, torch.ones(found.shape[-1], device="cuda")).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), preset.clip, foreach=True)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(net)
            del found
    return memory.most / 1e9, work.get_total_flops() / 2 / 1e12


def _on_device(net: nn.Module) -> nn.Module:
    """The network with fake weights on the device, of the same shapes and order in memory."""

    def fake(real: Tensor) -> Tensor:
        return torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="cuda")

    for module in net.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(fake(weight))
        module._buffers |= {name: fake(table) for name, table in module._buffers.items()}
        if isinstance(module, nn.LSTM):
            module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
    return net.train()


@contextmanager
def _without_values() -> Iterator[None]:
    """What depends on values: every view exists, noise has no seed, no constant is known."""

    def all_of(self: Tensor) -> Tensor:
        return torch.arange(self.numel(), device=self.device)[:, None]

    def made(real: Callable) -> Callable:
        def make(data, dtype=None, device=None) -> Tensor:
            like = real(data, dtype=dtype)
            return torch.empty(like.shape, dtype=like.dtype, device=device or "cpu")

        return make

    def new_tensor(self: Tensor, data) -> Tensor:
        return torch.tensor(data, dtype=self.dtype, device=self.device)

    replaced: list[tuple[object, str, object]] = [
        (Tensor, "nonzero", all_of),
        (Tensor, "new_tensor", new_tensor),
        (torch, "tensor", made(torch.tensor)),
        (torch, "as_tensor", made(torch.as_tensor)),
        (artefacts, "_standard_normal", lambda like, seed: torch.randn_like(like)),
    ]
    with ExitStack() as stack:
        for where, name, other in replaced:
            stack.enter_context(patch.object(where, name, other))
        yield


def _zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device="cuda")


def _grader_batch(preset: Preset) -> tuple[GraderSample, Callable]:
    count, views = preset.batch, len(views_of(preset))
    px = with_margin(preset.crop_px, MARGIN)
    sample = GraderSample(
        crops=_zeros(count, views, preset.slices, px, px, dtype=torch.uint8),
        exists=_zeros(count, views, dtype=torch.bool),
        annotated=_zeros(count, views, preset.slices, dtype=torch.bool),
        grades=_zeros(count, len(TARGETS), dtype=torch.int64),
        affine=_zeros(count, views, 2, 3),
        intensity=_zeros(count, views, len(intensity.IDENTITY)),
        own=_zeros(count),
        region=_zeros(count, 4),
        seed=_Seeds(count),
    )
    return sample, losses.grader_terms


def _locator_batch(preset: Preset) -> tuple[LocatorSample, Callable]:
    searches = {name: _search(preset, name, *of) for name, of in SEARCHES.items()}
    return LocatorSample(**searches, seed=_Seeds(preset.batch)), losses.locator_terms


def _search(preset: Preset, name: str, searches: int, points: int) -> Search:
    count, is_canal = preset.batch, name == "canal"
    slices = preset.locator_slices if is_canal else 2
    px = with_margin(preset.locator_px if is_canal else preset.locator_px // 2, MARGIN)
    return Search(
        crops=_zeros(count, searches, slices, px, px, dtype=torch.uint8),
        points=_zeros(count, searches, slices, points, 3),
        affine=_zeros(count, searches, 2, 3),
        bounds=_zeros(count, searches, 4),
        intensity=_zeros(count, searches, len(intensity.IDENTITY)),
    )


class _Seeds(list):
    """Seeds that are known, in place of a tensor."""

    def __init__(self, count: int):
        super().__init__([0] * count)

    def tolist(self) -> list[int]:
        return list(self)


def table(presets: list[Preset]) -> pd.DataFrame:
    """By preset: GB of each model and what the card has for it; hours of a fold, estimated."""
    rows = {}
    for preset in presets:
        half = torch.float16 if preset.name == "t4" else torch.bfloat16
        costs = {model: step_costs(preset, model, half) for model in ("locator", "grader")}
        hours = {
            f"{model}, hours": hours_of_a_fold(preset, model, work)
            for model, (_, work) in costs.items()
        }
        allowed = {"may take": CARD_GB.get(preset.name, float("nan"))}
        rows[preset.name] = (
            {model: memory for model, (memory, _) in costs.items()} | allowed | hours
        )
    return pd.DataFrame(rows).T.rename_axis("preset")


def hours_of_a_fold(preset: Preset, model: str, work: float) -> float:
    """All steps of one model, each of so many TFLOP, on the preset's card."""
    studies = PATIENTS * (1 - 1 / preset.folds)
    epochs = preset.locator_epochs if model == "locator" else preset.grader_epochs * preset.graders
    steps = epochs * studies / preset.batch
    return steps * work / (CARD_TFLOPS.get(preset.name, float("nan")) * REACHED) / 3600


def main() -> None:
    parser = cli.parser("benchmarks.memory", __doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(CARD_GB))
    a = parser.parse_args()
    pretended_gpu.restart_with_engine()
    pretended_gpu.install(bf16=True)
    presets = [replace(get_preset(name), pretrained=False) for name in a.presets]
    found = table(presets)
    print(found.round(2).to_string())
    too_much = found[["locator", "grader"]].max(axis=1) > found["may take"]
    raise SystemExit(1 if too_much.any() else 0)


if __name__ == "__main__":
    cli.run(main)
