"""A GPU that is not there: tensors that say they are on cuda:0 and are computed on the CPU.

Values are real, in 16 bits too; mixing devices raises as on a GPU; and whenever the host would have
to wait for the device, that is counted by the line that makes it wait (WAITS). What it cannot show:
speed, memory, kernels that do not exist or that round otherwise.

`install` changes torch for the whole process, so it is for processes of their own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

# Tensors of a subclass cannot be inference tensors. Here, because decorators ask when imported.
torch.inference_mode = lambda mode=True: torch.no_grad()

# Settings of models that are fast without a GPU, for presets that are meant for one.
SMALL = {
    **{"locator_px": 64, "locator_width": 8, "locator_slices": 2, "crop_px": 32, "slices": 3},
    **{"features": 32, "pretrained": False, "backbone": "small"},
}
CUDA = torch.device("cuda", 0)
HALVES = (torch.float16, torch.bfloat16)
aten = torch.ops.aten
WAITS: Counter[str] = Counter()
GUARD = Path(__file__).with_suffix(".cpp")
ENGINE = GUARD.with_name("pretended_engine.cpp")
STARTED = "PRETENDED_ENGINE"  # in the environment of a program that was started with it
UTILS = str(Path(__file__).parent.parent / "utils")
# These round once, from the sum in 32 bits, on a GPU as here.
PRODUCTS = {
    aten.convolution.default,
    aten.convolution_backward.default,
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
}
# Operations that take tensors of two devices.
MIXED = {
    *("copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"),
    *("_unsafe_index", "set_", "_has_compatible_shallow_copy_type", "is_same_size"),
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
CREATING = ("zeros", "ones", "empty", "full", "arange", "linspace", "rand", "randn")
LIKE = ("zeros_like", "ones_like", "empty_like")


class OnGpu(torch.Tensor):
    """A tensor that says it is on CUDA, round one on the CPU (.inner)."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnGpu:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CUDA,
            layout=inner.layout,
        )

    def __init__(self, inner: torch.Tensor):
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __tensor_flatten__(self):  # with these two a module exchanges its parameters for others
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner, meta, size, stride):
        return OnGpu(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copy = OnGpu(self.inner.detach().clone()).requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        return memo[id(self)]

    def __getitem__(self, index):
        return torch.Tensor.__getitem__(self, _on_device(index))

    def __setitem__(self, index, value):
        return torch.Tensor.__setitem__(self, _on_device(index), value)

    def tolist(self):
        waits("tolist")
        return self.inner.tolist()

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def __repr__(self):
        return f"OnGpu({self.inner!r})"


def _on_device(index):
    """Lists in an index become tensors of the device, as torch makes them."""
    if isinstance(index, tuple):
        return tuple(map(_on_device, index))
    is_list = isinstance(index, list) or type(index).__name__ == "ndarray"
    return torch.as_tensor(index).to(CUDA) if is_list else index


def waits(why: str) -> None:
    """Count that the host waits for the device, by the line of this project that makes it."""
    frames = reversed(traceback.extract_stack())
    line = next((f"{f.filename}:{f.lineno}" for f in frames if f.filename.startswith(UTILS)), "?")
    WAITS[f"{line.removeprefix(UTILS)} {why}"] += 1


def inner(x):
    return x.inner if isinstance(x, OnGpu) else x


def outer(x):
    return OnGpu(x) if isinstance(x, torch.Tensor) and not isinstance(x, OnGpu) else x


def run(func, args, kwargs):
    """One operation of torch, on whichever device its tensors say they are."""
    name = func._schema.name.split("::")[1]
    tensors = [x for x in tree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    on_gpu = [x for x in tensors if isinstance(x, OnGpu)]
    if name in ("is_pinned", "_has_compatible_shallow_copy_type"):
        return False
    if on_gpu:
        _check_devices(func, name, args, tensors)
        _count_waits(name, args, kwargs)
    if name == "copy_":
        inner(args[0]).copy_(inner(args[1]))
        return args[0]
    asked = kwargs.get("device")
    target = torch.device(asked) if asked is not None else None
    if target is None:
        target = CUDA if on_gpu else torch.device("cpu")
    plain_args, plain_kwargs = tree.tree_map(inner, (args, kwargs))
    if "device" in plain_kwargs:
        plain_kwargs["device"] = torch.device("cpu")
    result = _computed(func, name, plain_args, plain_kwargs)
    if name == "_local_scalar_dense" or target.type != "cuda":
        return result
    return return_and_correct_aliasing(func, args, kwargs, tree.tree_map(outer, result))


def _check_devices(func, name: str, args, tensors) -> None:
    """Raise RuntimeError where torch would, because tensors are on different devices."""
    elsewhere = [x for x in tensors if not isinstance(x, OnGpu)]
    if name in INDEXING and not isinstance(args[0], OnGpu):
        raise RuntimeError(f"{func}: indices on cuda:0 for a tensor on the cpu")
    if name in INDEXING and name != "index" and not isinstance(args[2], OnGpu) and args[2].dim():
        raise RuntimeError(f"{func}: values on the cpu for a tensor on cuda:0")
    if name not in MIXED and any(x.dim() for x in elsewhere):
        raise RuntimeError(f"{func}: tensors on cuda:0 and on the cpu")


def _count_waits(name: str, args, kwargs) -> None:
    """Operations whose result decides what the host does next, or whose size is not known."""
    target = kwargs.get("device")
    to_cpu = name == "_to_copy" and target is not None and torch.device(target).type == "cpu"
    copied_back = name == "copy_" and not isinstance(args[0], OnGpu)
    masks = [
        index
        for index in (args[1] if name in INDEXING else ())
        if index is not None and index.dtype in (torch.bool, torch.uint8)
    ]
    unknown = {"nonzero", "masked_select", "_unique2", "linalg_inv_ex", "linalg_solve_ex"}
    if to_cpu or copied_back or masks or name in unknown or name == "_local_scalar_dense":
        waits("a mask as index" if masks else name)


def _computed(func, name: str, args, kwargs):
    """The operation on the CPU; what only a GPU does in 16 bits is done in 32 and rounded."""
    if name in ("_softmax_backward_data", "_log_softmax_backward_data") and args[3] in HALVES:
        return func(args[0].float(), args[1].float(), args[2], torch.float32).to(args[3])
    floats = [x for x in tree.tree_leaves((args, kwargs)) if _is_float(x)]
    half = next((x.dtype for x in floats if x.dtype in HALVES), None)
    if half is None:
        return func(*args, **kwargs)
    if func in PRODUCTS:
        if len({x.dtype for x in floats}) > 1:
            raise RuntimeError(f"{func}: tensors of {sorted({str(x.dtype) for x in floats})}")
        return _in_32_bits(func, args, kwargs, half)
    if name in ("_softmax", "_log_softmax") and args[2]:  # to 32 bits, which no CPU does
        return func(args[0].float(), args[1], False)
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        if "not implemented for" not in str(error):
            raise
        return _in_32_bits(func, args, kwargs, half)


def _in_32_bits(func, args, kwargs, half):
    args, kwargs = tree.tree_map(lambda x: x.float() if _is_float(x) else x, (args, kwargs))
    result = func(*args, **kwargs)
    return tree.tree_map(lambda x: x.to(half) if _is_float(x) else x, result)


def _is_float(x) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point()


class Pretended(TorchDispatchMode):
    """Inside, tensors can be made on cuda:0."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


# --- torch believes it ----------------------------------------------------------------------------


def install(bf16: bool) -> None:
    """A card with 16 GB; one that has no native bf16 only emulates it, as a T4 does."""
    ctypes.CDLL(_compiled(GUARD)).install_guard()
    torch.autograd.set_multithreading_enabled(False)
    card = SimpleNamespace(name="pretended", total_memory=16e9, major=8 if bf16 else 7, minor=5)
    answers = {
        "is_available": True,
        "is_initialized": True,
        "_is_in_bad_fork": False,
        "device_count": 1,
        "current_device": 0,
        "get_device_properties": card,
        "get_device_capability": (card.major, card.minor),
        "get_device_name": card.name,
        "mem_get_info": (int(16e9), int(16e9)),
        "is_current_stream_capturing": False,
        **dict.fromkeys(("_lazy_init", "set_device", "synchronize", "empty_cache"), None),
        **dict.fromkeys(("manual_seed", "manual_seed_all"), None),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.is_bf16_supported = lambda including_emulation=True: including_emulation or bf16
    torch.backends.cudnn.is_acceptable = lambda tensor: False
    torch._VF.lstm = _lstm
    _make_on_device()


def restart_with_engine() -> None:
    """Start this program again, unless it was, so that the backward pass accepts the device."""
    if STARTED not in os.environ:
        environment = os.environ | {STARTED: "1", "LD_PRELOAD": _compiled(ENGINE)}
        os.execve(sys.executable, sys.orig_argv, environment)


def _compiled(source: Path) -> str:
    """A shared library, compiled once for this version of torch."""
    key = hashlib.sha256((torch.__version__ + source.read_text()).encode()).hexdigest()[:12]
    library = Path(tempfile.gettempdir()) / f"{source.stem}-{key}.so"
    if not library.is_file():
        root = Path(torch.__file__).parent
        partial = library.with_suffix(f".{os.getpid()}")
        command = ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{root}/include", str(source)]
        command += [f"-L{root}/lib", "-lc10", f"-Wl,-rpath,{root}/lib", "-o", str(partial)]
        subprocess.run(command, check=True)
        partial.replace(library)
    return str(library)


def _make_on_device() -> None:
    """Functions that make tensors, and .to: they know "cuda"."""
    real_to = torch.Tensor.to

    def to(self, *args, **kwargs):
        args = tuple(_device(x) for x in args)
        return real_to(self, *args, **{name: _device(x) for name, x in kwargs.items()})

    def made(real):
        def make(*args, device=None, **kwargs):
            result = real(*args, **kwargs)
            return result if device is None else to(result, device)

        return make

    def new_tensor(self, data, **kwargs):
        return to(torch.tensor(data, dtype=self.dtype, **kwargs), self.device)

    torch.Tensor.to, torch.Tensor.new_tensor = to, new_tensor
    torch.tensor, torch.as_tensor = made(torch.tensor), made(torch.as_tensor)
    for name in (*CREATING, *LIKE):
        setattr(torch, name, _with_device(getattr(torch, name)))
    real_generator = torch.Generator
    torch.Generator = lambda device="cpu": real_generator("cpu")


def _with_device(real):
    def make(*args, **kwargs):
        return real(*args, **{name: _device(x) for name, x in kwargs.items()})

    return make


def _device(x):
    """Any way to say "cuda" as one device."""
    if isinstance(x, str) and x.startswith("cuda"):
        return CUDA
    return CUDA if isinstance(x, torch.device) and x.type == "cuda" else x


def _lstm(x, state, weights, has_biases, layers, dropout, training, bidirectional, batch_first):
    """One layer of an LSTM as cuDNN computes it: all weights of one kind and on one device."""
    kinds = {(part.dtype, part.device) for part in (x, *state, *weights)}
    if len(kinds) > 1:
        raise RuntimeError(f"cuDNN LSTM: {kinds}")
    x = x.transpose(0, 1) if batch_first else x
    outputs = []
    for direction in range(1 + bidirectional):
        h, c = state[0][direction], state[1][direction]
        to_input, to_hidden, *biases = weights[4 * direction : 4 * direction + 4]
        steps = list(range(len(x)))
        found = {}
        for step in reversed(steps) if direction else steps:
            gates = x[step] @ to_input.T + h @ to_hidden.T + sum(biases)
            enter, forget, cell, out = gates.chunk(4, -1)
            c = forget.sigmoid() * c + enter.sigmoid() * cell.tanh()
            h = out.sigmoid() * c.tanh()
            found[step] = h
        outputs.append(torch.stack([found[step] for step in steps]))
    y = torch.cat(outputs, -1)
    return (y.transpose(0, 1) if batch_first else y), *state
