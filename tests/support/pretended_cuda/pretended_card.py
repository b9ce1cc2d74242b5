"""One card that torch sees and that is the CPU: its tensors say ``cuda:0`` and compute there.

As on a card, tensors of both kinds do not mix, what moves is copied, and NumPy gets none of the
card's. Work is done when a call returns, so that to wait for it is to be counted, no more.

    PRETENDED_CUDA     folder to tell in: ``contexts/ID`` of each process that uses the card, and
                       ``waits/ID``, a line for each time that it waits for the card
    PRETENDED_CUDA_FAILS  the card fails as soon as this file is there
    PRETENDED_AMD  torch is a build for ROCm, and the card is the first of ``pretended_amd``
    PRETENDED_KIND     "mps" for the GPU of a Mac instead of a CUDA card
"""

import functools
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode

KIND = os.environ.get("PRETENDED_KIND", "cuda")
CARD = torch.device(f"{KIND}:0")
UUID = "00000000-1111-2222-3333-444444444444"
"""NVML's, without its ``GPU-``, as torch tells it."""
NAME = "Stand-in"
MEMORY_BYTES = 16 << 30

_folder = Path(os.environ["PRETENDED_CUDA"])
_user = 0
"""Process that uses the card: a forked child begins without."""


def _use():
    """Open a context, as torch does at the first use of a card."""
    global _user
    if _user == os.getpid():
        return
    _user = os.getpid()
    (_folder / "contexts" / str(_user)).touch()


def _synchronize(device=None):
    _use()
    if Path(os.environ.get("PRETENDED_CUDA_FAILS", "/none")).is_file():
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")
    said = {
        "time_s": time.monotonic(),
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
        "half": _half,
    }
    with (_folder / "waits" / str(_user)).open("a") as file:
        file.write(json.dumps(said) + "\n")


_half = None
"""The type of the autocast entered last."""


class _Autocast(torch.autocast):
    """Rounds on the CPU what the card would round."""

    def __init__(self, device_type, *arguments, **options):
        kind = "cpu" if device_type == CARD.type else device_type
        super().__init__(kind, *arguments, **options)

    def __enter__(self):
        global _half
        _half = str(self.fast_dtype)
        return super().__enter__()


class OnCard(torch.Tensor):
    """A tensor of the card's."""

    device = property(lambda _: CARD)
    is_cuda = property(lambda _: KIND == "cuda")
    is_mps = property(lambda _: KIND == "mps")
    is_cpu = property(lambda _: False)

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        return _call(function, arguments, options or {})


class _Card(TorchFunctionMode):
    """Sends to the card what is made for it or moved to it."""

    def __torch_function__(self, function, types, arguments=(), options=None):
        return _call(function, arguments, options or {})


_MOVES = {torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu}
_INDEXES = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
_OF_TWO_DEVICES = {torch.Tensor.copy_, torch._has_compatible_shallow_copy_type}
_TO_NUMPY = {torch.Tensor.numpy, torch.Tensor.__array__}


def _call(function, arguments, options):
    if function in _MOVES:
        return _move(function, *arguments, **options)
    tensors = list(_tensors([*arguments, *options.values()]))
    on_card = any(isinstance(tensor, OnCard) for tensor in tensors)
    if on_card:
        _refuse(function, tensors)
    if options.get("device") is not None:
        on_card = _is_card(options["device"])
        if on_card:
            options = {**options, "device": "cpu"}
    result = _plainly(function, *arguments, **options)
    return _as_card(result) if on_card else result


def _plainly(function, *arguments, **options):
    with torch._C.DisableTorchFunctionSubclass():
        return function(*arguments, **options)


def _refuse(function, tensors):
    """Raise what CUDA raises of a call that no card can do."""
    if function in _TO_NUMPY:
        raise TypeError(f"can't convert {CARD} device type tensor to numpy. Use Tensor.cpu() first")
    others = [tensor for tensor in tensors if not isinstance(tensor, OnCard) and tensor.dim()]
    if function in _INDEXES and not isinstance(tensors[0], OnCard):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed")
    if others and function not in _INDEXES | _OF_TWO_DEVICES:
        name = getattr(function, "__name__", function)
        raise RuntimeError(f"{name}: RunCost all tensors to be on the same device, {CARD} and cpu")


def _move(function, tensor, *arguments, **options):
    here = isinstance(tensor, OnCard)
    there = here if function is torch.Tensor.to else function is torch.Tensor.cuda
    if function is torch.Tensor.to:
        asked = [*arguments, *options.values()]
        for one in asked:
            if isinstance(one, torch.Tensor):
                there = isinstance(one, OnCard)
            elif isinstance(one, str | torch.device):
                there = _is_card(one)
        arguments = ["cpu" if _is_card(one) else one for one in arguments]
        options = {name: "cpu" if _is_card(one) else one for name, one in options.items()}
        if here is not there:
            options["copy"] = True
        moved = _plainly(function, tensor, *arguments, **options)
    else:
        moved = tensor if here is there else _plainly(torch.Tensor.clone, tensor)
    return _as_card(moved) if there else _plainly(torch.Tensor.as_subclass, moved, torch.Tensor)


def _is_card(device):
    return isinstance(device, str | torch.device) and torch.device(device).type == CARD.type


def _tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _as_card(result):
    if isinstance(result, torch.Tensor):
        if isinstance(result, OnCard):
            return result
        _use()
        return _plainly(torch.Tensor.as_subclass, result, OnCard)
    if isinstance(result, list | tuple):  # also those with names, of torch.return_types
        return type(result)([_as_card(one) for one in result])
    return result


def pretend():
    """Change what torch says of its devices in this process."""
    for name in ("contexts", "waits"):
        (_folder / name).mkdir(parents=True, exist_ok=True)
    _pretend_mps() if KIND == "mps" else _pretend_cuda()
    torch.accelerator.is_available = lambda: True
    torch.accelerator.current_device_index = lambda: 0
    torch.accelerator.set_device_index = lambda device: None
    torch.accelerator.current_stream = lambda: SimpleNamespace(is_capturing=lambda: False)
    torch.autocast = _Autocast
    torch.Tensor.pin_memory = lambda tensor: tensor
    # A module's parameters become the card's own, and do not only get its values.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _Card().__enter__()


def _tell(module, told):
    for name, answer in told.items():
        assert hasattr(module, name), name
        setattr(module, name, answer)


def _pretend_mps():
    used = {
        "synchronize": _synchronize,
        "current_allocated_memory": lambda: MEMORY_BYTES // 4 if _user == os.getpid() else 0,
        "driver_allocated_memory": lambda: MEMORY_BYTES // 4,
        "recommended_max_memory": lambda: MEMORY_BYTES,
        "manual_seed": lambda seed: None,
        "get_rng_state": lambda device="mps": None,
        "set_rng_state": lambda state, device="mps": None,
    }
    _tell(torch.mps, used)
    _tell(torch.backends.mps, {"is_available": functools.cache(lambda: True)})


def _pretend_cuda():
    properties = SimpleNamespace(
        name=NAME, uuid=UUID, total_memory=MEMORY_BYTES, major=9, minor=0, multi_processor_count=1
    )
    if "PRETENDED_AMD" in os.environ:
        torch.version.hip = "7.0.51831"
        # The name of the architecture has its settings; the card's address has no function.
        properties.gcnArchName = "gfx942:sramecc+:xnack-"
        properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id = 0, 0xC1, 0
    told = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda device=None: properties,
        "is_initialized": lambda: _user == os.getpid(),
        "current_device": lambda: _use() or 0,
        "set_device": lambda device: _use(),
        "synchronize": _synchronize,
        "memory_allocated": lambda device=None: 0,
        "mem_get_info": lambda device=None: _use() or (MEMORY_BYTES * 3 // 4, MEMORY_BYTES),
        "is_bf16_supported": lambda including_emulation=True: True,
        "manual_seed_all": lambda seed: None,
        "get_rng_state": lambda device=CARD: None,
        "set_rng_state": lambda state, device=CARD: None,
    }
    _tell(torch.cuda, told)
