"""Lists what a network computes, step by step, with its weights as numbers, for the script of the page (network.js).

    model = list_steps(net, X)  # {"steps", "scores", "map", "gates", "floats", "halves"}

torch.fx records which layer takes which output. A network with a layer or a function that the script does not have is
refused. Maps have the channels last in the script, so kernels are stored as (row, column, in, out).
"""

from __future__ import annotations

import base64
import operator

import torch
import torch.nn.functional as F
from torch import fx, nn

from utils.errors import CourseworkError
from utils.evaluation.export import readable
from utils.evaluation.grad_cam import scores_and_maps
from utils.evaluation.metrics import are_probabilities
from utils.models.basic_layers import GlobalMaxPool, Scale, TemperatureSoftmax, Whiten
from utils.models.blocks import Branches, ConstantGate
from utils.models.gated import GatedConv, weighted_sum
from utils.models.summary import text_of

LARGEST = 10_000_000  # bytes of weights; a page by mail can't be much larger, and a larger network would be slow
OWN = (Whiten, TemperatureSoftmax, Scale, GlobalMaxPool, ConstantGate)  # layers that torch does not have
FUNCTIONS = {  # functions and methods of tensors, and the layers that compute the same
    **dict.fromkeys((F.relu, torch.relu, "relu"), nn.ReLU),
    **dict.fromkeys((torch.flatten, "flatten"), nn.Flatten),
    **dict.fromkeys((torch.sigmoid, "sigmoid"), nn.Sigmoid),
    F.gelu: nn.GELU,
    F.leaky_relu: nn.LeakyReLU,
    F.max_pool2d: nn.MaxPool2d,
    F.avg_pool2d: nn.AvgPool2d,
}
WITHOUT_EFFECT = (nn.Identity, nn.Dropout, nn.Dropout2d)  # in eval mode


def list_steps(net: nn.Module, X: torch.Tensor) -> dict:
    """Return the steps of a network for images of the shape of X (n, 3, H, W), and where its gates are.

    scores and map are the numbers of the steps that give the scores and the maps for Grad-CAM (None if they are too
    small). A gate has a name, its step and the texts of its branches.
    """
    net = with_branches(readable(net))
    try:
        graph = LayerTracer().trace(net)
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError) as error:
        raise _unknown(f"a forward that torch.fx cannot follow ({error})") from error
    values = Values(net, graph)
    with torch.no_grad():
        y_hat = values.run(X)
    writer = Writer(values.of)
    for node in graph.nodes:
        writer.add(node, net)
    return writer.result(_map_node(net, X, values.of), are_probabilities(y_hat))


def with_branches(net: nn.Module) -> nn.Module:
    """Replace each gated convolution by a list of ordinary ones, its branches."""
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, GatedConv):
                setattr(module, name, Branches(map(_as_layer, *zip(*child.kernels(), strict=True))))
    return net


def _as_layer(weight, bias):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[-1], padding=weight.shape[-1] // 2)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer.eval()


def mix(a, maps, name, texts):
    """Add the maps, each multiplied by its weight in a (B, k): the sum of a gated block."""
    return weighted_sum(zip(a.unbind(1), maps, strict=True))


class LayerTracer(fx.Tracer):
    """Record layers as single steps, and the branches of a gated block one by one."""

    def is_leaf_module(self, module, name):
        return isinstance(module, OWN) or super().is_leaf_module(module, name)

    def call_module(self, module, forward, args, kwargs):
        if not isinstance(module, Branches):
            return super().call_module(module, forward, args, kwargs)
        X, a = args
        block = self.path_of_module(module).rpartition(".")[0] or "gate"
        facts = {"name": block, "texts": [text_of(branch) for branch in module]}
        return self.create_proxy("call_function", mix, (a, [branch(X) for branch in module]), facts)


class Values(fx.Interpreter):
    """Compute a traced network, and keep the output of each node in `of`."""

    def __init__(self, net, graph):
        super().__init__(fx.GraphModule(net, graph))
        self.of = {}

    def run_node(self, node):
        self.of[node] = super().run_node(node)
        return self.of[node]


class Writer:
    """Turns the nodes of a traced network into steps, and collects their weights."""

    def __init__(self, values):
        self.values = values
        self.steps, self.gates = [], []
        self.numbers = {}  # {node: number of the step that computes it}
        self.floats, self.halves = [], []

    def add(self, node, net):
        """Add the step of one node."""
        sources = [self.numbers[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            self._write(node, "input", [])
        elif node.op == "output":
            self.scores = sources[0]
        elif node.op == "call_module":
            self.add_layer(node, net.get_submodule(node.target), sources)
        elif node.target is mix:
            sources = [self.numbers[source] for source in (node.args[0], *node.args[1])]
            self.gates.append({"step": sources[0], **node.kwargs})
            self._write(node, "mix", sources)
        elif node.target in (operator.add, operator.iadd, torch.add) and len(sources) == 2:
            self._write(node, "add", sources)
        elif node.target in FUNCTIONS:
            self.add_layer(node, FUNCTIONS[node.target](*node.args[1:], **node.kwargs), sources)
        else:
            raise _unknown(getattr(node.target, "__name__", str(node.target)))

    def add_layer(self, node, layer, sources):
        """Add the step of a layer; one without an effect gets the number of its input."""
        if isinstance(layer, WITHOUT_EFFECT):
            self.numbers[node] = sources[0]
            return
        if type(layer) not in STEPS:
            raise _unknown(f"{type(layer).__name__} ({node.target})")
        op, settings = STEPS[type(layer)](layer, self.values[node.all_input_nodes[0]])
        self._write(node, op, [] if op == "constant" else sources, **settings)

    def _write(self, node, op, sources, **settings):
        """Add a step; a tensor among its settings becomes the positions of its first number and after its last."""
        for name, value in settings.items():
            if isinstance(value, torch.Tensor):
                numbers = self.halves if value.ndim > 1 else self.floats
                start = sum(map(len, numbers))
                numbers.append(value.detach().flatten().to(torch.float16 if value.ndim > 1 else torch.float32))
                settings[name] = [start, start + value.numel()]
        self.numbers[node] = len(self.steps)
        self.steps.append({"op": op, "from": sources, "shape": list(self.values[node].shape[1:]), **settings})

    def result(self, map_node, has_softmax):
        """Return everything; of a softmax at the end only the temperature remains, because the page has its own."""
        if has_softmax:
            last = self.steps[self.scores]
            last |= {"op": "scale", "factor": 1 / last.pop("temperature")}
        floats, halves = torch.cat([*self.floats, torch.zeros(0)]), torch.cat([*self.halves, torch.zeros(0).half()])
        size = 4 * len(floats) + 2 * len(halves)
        if size > LARGEST:
            what = f"The network is too large for a page: it has {size / 1e6:.1f} MB of weights."
            raise CourseworkError(what, next_step=f"Choose one with at most {LARGEST / 1e6:.0f} MB, such as quick.")
        if not (floats.isfinite().all() and halves.isfinite().all()):
            raise CourseworkError("A weight is NaN, Inf or above 65,504.", next_step="Train the network again.")
        return {
            "steps": self.steps,
            "scores": self.scores,
            "map": self.numbers.get(map_node),
            "gates": self.gates,
            "floats": base64.b64encode(floats.numpy().astype("<f4").tobytes()).decode(),
            "halves": base64.b64encode(halves.numpy().astype("<f2").tobytes()).decode(),
        }


def _conv(layer, X):
    is_plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    pairs = (layer.kernel_size, layer.stride, layer.padding)
    _require(is_plain and all(isinstance(pair, tuple) and len({*pair}) == 1 for pair in pairs), layer)
    size, stride, padding = (pair[0] for pair in pairs)
    bias = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
    weight = layer.weight.permute(2, 3, 1, 0)
    return "conv", {"size": size, "stride": stride, "padding": padding, "weight": weight, "bias": bias}


def _linear(layer, X):
    _require(X.ndim == 2, layer)
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias
    return "conv", {"size": 1, "stride": 1, "padding": 0, "weight": layer.weight.T, "bias": bias}


def _norm(layer, X):
    _require(layer.running_var is not None, layer)
    scale = (layer.running_var + layer.eps).rsqrt() * (1 if layer.weight is None else layer.weight)
    return "affine", {"scale": scale, "shift": (0 if layer.bias is None else layer.bias) - layer.running_mean * scale}


def _pool(layer, X):
    is_plain = getattr(layer, "padding", 0) in (0, (0, 0)) and getattr(layer, "dilation", 1) in (1, (1, 1))
    _require(
        is_plain and not getattr(layer, "ceil_mode", False) and not getattr(layer, "divisor_override", None), layer
    )
    rows, columns = (windows(layer, X.shape[axis], axis - 2) for axis in (2, 3))
    return "pool", {"kind": "max" if "Max" in type(layer).__name__ else "mean", "rows": rows, "columns": columns}


def windows(layer: nn.Module, length: int, axis: int) -> list[list[int]]:
    """Return the first pixel of each window of a pooling layer, and the one after its last, along one axis."""
    if isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
        size, stride = (both[axis] if isinstance(both, tuple) else both for both in (layer.kernel_size, layer.stride))
        return [[start, start + size] for start in range(0, length - size + 1, stride)]
    count = getattr(layer, "output_size", 1)
    count = (count[axis] if isinstance(count, tuple) else count) or length
    return [[i * length // count, -(-(i + 1) * length // count)] for i in range(count)]


def _softmax(layer, X):
    _require(X.ndim == 2 and layer.dim in (1, -1), layer)
    return "softmax", {"temperature": float(getattr(layer, "temperature", 1.0))}


def _flatten(layer, X):
    _require(layer.start_dim == 1 and layer.end_dim == -1, layer)
    return "flatten", {}


def _gelu(layer, X):
    _require(layer.approximate == "none", layer)
    return "gelu", {}


POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, GlobalMaxPool)
STEPS = {  # how each layer is written as a step: (operation of network.js, settings)
    **dict.fromkeys(POOLS, _pool),
    **dict.fromkeys((nn.Conv2d, Whiten), _conv),
    **dict.fromkeys((nn.Softmax, TemperatureSoftmax), _softmax),
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.Flatten: _flatten,
    nn.GELU: _gelu,
    nn.ReLU: lambda layer, X: ("leaky", {"slope": 0.0}),
    nn.LeakyReLU: lambda layer, X: ("leaky", {"slope": layer.negative_slope}),
    nn.Sigmoid: lambda layer, X: ("sigmoid", {}),
    nn.Tanh: lambda layer, X: ("tanh", {}),
    Scale: lambda layer, X: ("scale", {"factor": layer.factor}),
    ConstantGate: lambda layer, X: ("constant", {"value": 1 / layer.k}),
}


def _map_node(net, X, values):
    """Return the node that computes the maps of Grad-CAM, or None if all maps are too small."""
    try:
        features = scores_and_maps(net, X)[1][-1]
    except CourseworkError:
        return None
    alike = [node for node, Y in values.items() if Y.shape == features.shape and torch.allclose(Y, features)]
    return alike[-1] if alike else None


def _require(condition, layer):
    if not condition:
        raise _unknown(str(layer))


def _unknown(what):
    next_step = "The page knows the layers of our recipes; tools/demo/layers.py lists them. `make export` takes any."
    return CourseworkError(
        f"The script of the page does not have this part of the network: {what}.", next_step=next_step
    )
