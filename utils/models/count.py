"""Count the parameters, the multiply-adds and the depth of any network, without changing it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from utils.errors import CourseworkError, require
from utils.models.gated import GatedConv
from utils.models.source import unwrapped

WEIGHTED = ("Convolution", "Addmm", "Mm", "Bmm", "Baddbmm")  # autograd nodes of convolutions and matrix products


def parameters(net: nn.Module) -> int:
    """Return the number of trainable parameters."""
    what = "The network has lazy layers, whose weights have no shape before the first batch."
    has_shapes = not any(is_lazy(parameter) for parameter in net.parameters())
    require(has_shapes, what, type(net).__name__, "Call net(X) with one batch of images first.")
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)


def macs(net: nn.Module, size: int = 32, image: torch.Tensor | None = None) -> int:
    """Return the multiply-adds (MACs) of convolutions and matrix products for one image: half of torch's FLOPs."""
    net = unwrapped(net)
    image = example_image(net, size) if image is None else image
    with measured(net), counted_flops() as counter:
        net(image)
    return counter.get_total_flops() // 2 // len(image)


def depth(net: nn.Module, size: int = 32) -> int:
    """Count the convolutions and linear layers on the longest path from the image to the scores."""
    net = unwrapped(net)
    image = example_image(net, size)
    with measured(net), torch.enable_grad():
        scores = net(image.requires_grad_())
    lengths = {None: 0}
    waiting = [scores.grad_fn]
    while waiting:
        node = waiting[-1]
        parents = [parent for parent, _ in node.next_functions]
        missing = [parent for parent in parents if parent not in lengths]
        if missing:
            waiting += missing
            continue
        is_weighted = type(node).__name__.removesuffix("0").removesuffix("Backward") in WEIGHTED
        lengths[node] = int(is_weighted) + max((lengths[parent] for parent in parents), default=0)
        waiting.pop()
    return lengths[scores.grad_fn]


def network_table(networks: dict[str, Callable[[], nn.Module]]) -> list[dict]:
    """List name, parameters, multiply-adds, k and depth of each network in {name: function that makes it}.

    k lists the numbers of branches of its gated blocks.
    """
    rows = []
    for name, make_net in networks.items():
        with torch.device("meta"):  # shapes only: no memory and no random numbers
            net = make_net()
            branches = sorted({a.shape[1] for a in gate_outputs(net).values()})
            row = {"name": name, "parameters": parameters(net), "macs": macs(net)}
            rows.append(row | {"k": tuple(branches), "depth": depth(net)})
    return rows


def find_gates(net: nn.Module) -> dict[str, nn.Module]:
    """Return {name: gate}: the submodules called `gate`; the name is that of their block ("network": net itself)."""
    gates = {}
    for name, module in unwrapped(net).named_modules():
        parent, _, attribute = name.rpartition(".")
        if attribute == "gate":
            gates[parent or "network"] = module
    return gates


def gate_outputs(net: nn.Module, image: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """Return {name: output} of the gates from find_gates that weigh branches, for one image."""
    net = unwrapped(net)
    image = example_image(net) if image is None else image
    outputs = {}
    blocks = dict(net.named_modules())
    with measured(net), contextlib.ExitStack() as hooks:
        for name, gate in find_gates(net).items():

            def note(module, inputs, a, name=name):
                if weighs_branches(blocks.get(name, net), a):
                    outputs[name] = a

            hooks.callback(gate.register_forward_hook(note).remove)
        net(image)
    return outputs


def weighs_branches(block: nn.Module, a) -> bool:
    """Return True if a gate's output has the shape (B, k) in a block with k branches.

    In a squeeze-and-excitation block, for example, the gate weighs the channels.
    """
    if not isinstance(a, torch.Tensor) or a.ndim != 2:
        return False
    k = a.shape[1]
    has_stacked_kernels = any(weight.ndim == 5 and len(weight) == k for weight in block.parameters())
    has_k_convolutions = sum(isinstance(layer, _ConvNd) for layer in block.modules()) >= k
    has_list = hasattr(block, "branches") or len(find_branches(block, k)) > 0
    return has_list or has_k_convolutions or has_stacked_kernels


def find_branches(block: nn.Module, k: int) -> Sequence[nn.Module]:
    """Return a block's k branches, under any names: a GatedConv, a list, or submodules with a convolution."""
    for module in block.modules():
        is_list = isinstance(module, nn.ModuleList) and len(module) == k
        if is_list or (isinstance(module, GatedConv) and len(module.kernel_sizes) == k):
            return module
    parts = [part for name, part in block.named_children() if name not in ("gate", "shortcut", "after")]
    branches = [part for part in parts if any(isinstance(layer, _ConvNd) for layer in part.modules())]
    return branches if len(branches) == k else []


def example_image(net: nn.Module, size: int = 32) -> torch.Tensor:
    """Return zeros (1, C, size, size) on the network's device; C is the number of inputs of its first convolution."""
    convolutions = (layer for layer in net.modules() if isinstance(layer, (nn.Conv2d, GatedConv)) and layer.in_channels)
    first = next(convolutions, None)
    channels = 3 if first is None else first.in_channels
    like = next((parameter for parameter in net.parameters() if parameter.is_floating_point()), torch.empty(0))
    return torch.zeros(1, channels, size, size, device=like.device, dtype=like.dtype)


@contextlib.contextmanager
def counted_flops():
    """Yield torch's counter of FLOPs, with attention and recurrent layers as the matrix products that it knows.

    It counts nothing inside the fused kernels of nn.TransformerEncoderLayer, of attention and of nn.LSTM.
    """
    backends = (torch.backends.mkldnn, torch.backends.cudnn)
    were_enabled = [backend.enabled for backend in backends]
    were_fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for backend in backends:
            backend.enabled = False
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(were_fused)
        for backend, was_enabled in zip(backends, were_enabled, strict=True):
            backend.enabled = was_enabled


@contextlib.contextmanager
def measured(net: nn.Module):
    """Put a network into eval mode, without gradients and with gated convolutions as loops; restore it afterwards.

    The reports compute a gated convolution as a loop; the other forms need fewer multiply-adds, or more.
    """
    modes = [(module, module.training) for module in net.modules()]
    compiled = net._compiled_call_impl  # not used here, because compiling for the shape of one image takes long
    forms = [(module, module.form) for module in net.modules() if isinstance(module, GatedConv)]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            net.eval()
            net._compiled_call_impl = None
            for module, _ in forms:
                module.form = "loop"
            yield
    except RuntimeError as error:
        if not re.search("shapes cannot be multiplied|channels", str(error)):
            raise
        what = f"The network can't compute the example image: {str(error).splitlines()[0]}"
        next_step = (
            "By default the image has 32x32 pixels; give one of yours: draw_network(net, image=X[:1]). If net(X) fails "
            "for your images, too, correct the shapes in its layers."
        )
        raise CourseworkError(what, where=type(net).__name__, next_step=next_step) from error
    finally:
        net._compiled_call_impl = compiled
        for module, mode in modes:
            module.training = mode
        for module, form in forms:
            module.form = form
