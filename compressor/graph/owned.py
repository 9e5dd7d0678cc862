"""Modules as people hold them: wrapped by other tools, or of kinds that are to be captured in another form."""

from __future__ import annotations

import torch
from torch import nn

from compressor.errors import CaptureError


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside ``DataParallel``, ``DistributedDataParallel`` and what ``torch.compile`` returned."""
    for _ in range(8):
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            break
    return module


def refuse_kinds(module: nn.Module) -> None:
    """Raise ``CaptureError`` for modules that are captured at another stage, saying which."""
    for path, part in module.named_modules():
        if reason := _reason(part):
            raise CaptureError(f"{path or 'it'} is {reason}")
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type == "meta":
            raise CaptureError(f"{name} has no values (it is on the meta device); load the weights first")


def _reason(part: nn.Module) -> str:
    kind, home = type(part).__name__, type(part).__module__
    if isinstance(part, torch.jit.ScriptModule):
        return "a scripted module; give the Python module it was scripted from (or save it and load it with --trust)"
    if isinstance(part, nn.modules.lazy.LazyModuleMixin) and part.has_uninitialized_params():
        return f"a {kind} without sizes; run the module on one batch first"
    if ".quantized" in home and home.startswith(("torch.ao.nn", "torch.nn")):
        return f"a quantised {kind}; capture the network before it is converted: the toolkit quantises itself"
    if "FakeQuantize" in kind or kind.endswith("Observer") or ".qat" in home:
        return f"a {kind} of quantisation-aware training; capture the network before it: the toolkit quantises itself"
    return ""
