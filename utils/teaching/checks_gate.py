"""Notebook 02: examinations of the gated convolution, of the gated block, of the whole network and of two exercises."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, network_of, number_of, tensor_of


def _branches(module):
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _on_meta(module, *inputs):
    """Run a module on tensors without numbers: an answer that makes a tensor on the CPU fails there."""
    tensor_of(call(module.to("meta"), *(value.to("meta") for value in inputs), may_change=True))


@exercise(
    "02.gated-conv",
    "the weighted sum of k convolutions",
    no_branches="PyTorch does not find k layers `nn.Conv2d`. It ignores plain lists. And is each of them a new layer?",
    names="Keep the name: the convolutions are in `self.branches`, an `nn.ModuleList`.",
    other_kernels="The branches should have 3x3 kernels.",
    shrinks="The maps become smaller, so a shortcut could not be added. Look at the padding.",
    same_weights="Every image should be weighted by its own row of a. Give two images different rows.",
    wrong_branch="A branch gets the weight of another branch. Which index of a belongs to the image?",
    averaged="The sum is divided by k, or the weights are changed. Use a as it is: its rows add up to 1 already.",
    no_weights="The result does not depend on a. Where do the weights of an image meet its maps?",
    no_gradient="The weights a get no gradient, so a gate could not learn. Look for `detach` and `no_grad`.",
)
def examine_gated_conv(answer):
    B, k = 4, 3
    layer = network_of(call(answer, 5, 6, k))
    branches = _branches(layer)
    ensure(
        len(branches) == k and all(conv.in_channels == 5 and conv.out_channels == 6 for conv in branches), "no_branches"
    )
    ensure(all(conv.kernel_size == (3, 3) for conv in branches), "other_kernels")
    ensure(_branches(getattr(layer, "branches", nn.Identity())) == branches, "names")
    X, a = torch.randn(B, 5, 8, 9), torch.rand(B, k).softmax(1)
    a[0] = torch.tensor([0.7, 0.2, 0.1])
    a.requires_grad_()
    output = call(layer, X, a, may_change=True)
    ensure(isinstance(output, torch.Tensor) and output.shape[-2:] == X.shape[-2:], "shrinks")
    Y = torch.stack([conv(X) for conv in branches])
    right = torch.einsum("bj,jbchw->bchw", a, Y)
    mistakes = {
        "same_weights": torch.einsum("j,jbchw->bchw", a.mean(0), Y),
        "averaged": right / k,
        "wrong_branch": torch.einsum("bj,jbchw->bchw", a.flip(1), Y),
    }
    firsts = [torch.einsum("j,jbchw->bchw", row, Y) for row in a]
    if any(is_close(output, first) for first in firsts):
        raise Wrong("same_weights")
    ensure(not is_close(output, Y.sum(0)) and not is_close(output, Y.mean(0)), "no_weights")
    ensure(not is_close(output, torch.einsum("bj,jbchw->bchw", a.softmax(1), Y)), "averaged")
    compare(tensor_of(output, (B, 6, 8, 9)), right, mistakes)
    ensure(
        output.requires_grad and torch.autograd.grad(output.sum(), a, allow_unused=True)[0] is not None, "no_gradient"
    )
    _on_meta(layer, X, a.detach())


@exercise(
    "02.gate",
    "the gated block",
    no_gate="The block has no module `gate`, or the gate is not called with one number per channel.",
    names="Keep the names: `gate` begins with the linear layer, and `conv` is a GatedConv with `branches`.",
    softmax_dimension="The k weights of one image should add up to 1. Over which dimension does the softmax run?",
    not_a_softmax="The output of the module `gate` should be positive weights that add up to 1 for each image.",
    same_weights="All images get the same weights. The gate should see each image by itself: look at the mean.",
    gate_unused="The gate's weights do not reach the output.",
    no_shortcut="The shortcut is missing: if the number of channels stays the same, the input is added.",
    late_shortcut="The input is added at the wrong place. The norm and the ReLU are applied to the sum.",
    no_norm="Batch norm is missing, or it stands at the wrong place.",
    no_relu="The output has negative numbers. What comes last?",
    relu_first="The ReLU stands before the norm. Compare the order with the docstring.",
    width_changes="The block fails or is wrong if the number of channels changes. Look at the shortcut and the norm.",
    no_gradient="The gate gets no gradient, so it could not learn. Look for `detach` and `no_grad`.",
    eval_mode="In eval mode the output for an image depends on the other images. Only batch norm does so, in training.",
)
def examine_gated_block(answer):
    k = 3
    block = network_of(call(answer, 6, 6, k))
    X = torch.randn(5, 6, 8, 8) + torch.randn(5, 6, 1, 1)
    _examine_block(block, X, k, shortcut=True)
    wider = network_of(call(answer, 6, 8, k))
    try:
        _examine_block(wider, X, k, shortcut=False)
    except Wrong as wrong:
        raise wrong if wrong.hint in ("no_gradient", "eval_mode") else Wrong("width_changes") from None
    branches = getattr(getattr(block, "conv", None), "branches", nn.Identity())
    first = block.gate[0] if isinstance(block.gate, nn.Sequential) else None
    ensure(isinstance(first, nn.Linear) and _branches(branches) == _branches(block), "names")
    _on_meta(block, X)


def _examine_block(block, X, k, shortcut):
    ensure(isinstance(getattr(block, "gate", None), nn.Module), "no_gate")
    seen = []
    hook = block.gate.register_forward_hook(lambda gate, inputs, output: seen.append(output))
    output = call(block, X, may_change=True)
    hook.remove()
    ensure(len(seen) == 1 and isinstance(seen[0], torch.Tensor), "no_gate")
    a = _weights(seen[0], len(X), k)
    branches, norms = _branches(block), [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    if len(branches) != k:
        raise Wrong("gate_unused")
    ensure(len(norms) == 1, "no_norm")
    Y = torch.stack([conv(X) for conv in branches])
    weighted = torch.einsum("bj,jbchw->bchw", a, Y)

    def normed(Z):
        return F.batch_norm(Z, None, None, norms[0].weight, norms[0].bias, training=True)

    total = weighted + X if shortcut else weighted
    added = X if shortcut else 0
    mistakes = {
        "no_shortcut": normed(weighted).relu(),
        "late_shortcut": normed(weighted).relu() + added,
        "gate_unused": normed(Y.mean(0) + added).relu(),
        "relu_first": normed(total.relu()),
        "no_norm": total.relu(),
        "no_relu": normed(total),
    }
    if is_close(output, (normed(weighted) + added).relu()) and shortcut:
        raise Wrong("late_shortcut")
    if is_close(output, normed(Y.sum(0) + added).relu()):
        raise Wrong("gate_unused")
    compare(tensor_of(output, total.shape), normed(total).relu(), mistakes, tolerance=1e-3)
    gradients = torch.autograd.grad(output.square().sum(), list(block.parameters()), allow_unused=True)
    ensure(all(gradient is not None for gradient in gradients), "no_gradient")
    block.eval()
    alone = torch.cat([call(block, X[i : i + 1], may_change=True) for i in range(len(X))])
    ensure(is_close(call(block, X, may_change=True), alone, 1e-3), "eval_mode")
    block.train()


def _weights(a, count, k):
    """Examine the output of the gate for `count` images, (count, k), and return it."""
    a = a.flatten(1) if a.ndim > 2 else a
    values = tensor_of(a, what="The gate's output")
    if tuple(values.shape) in ((k,), (1, k)) or (
        len(values) == count and is_close(values, values[:1].expand_as(values))
    ):
        raise Wrong("same_weights")
    tensor_of(values, (count, k), what="The gate's output")
    is_sum_one = is_close(values.sum(1), torch.ones(count))
    ensure(is_sum_one or not is_close(values.sum(0), torch.ones(k)), "softmax_dimension")
    ensure(is_sum_one and (values >= 0).all(), "not_a_softmax")
    return a


@exercise(
    "02.net",
    "a whole network",
    softmax_at_end="The network ends in a softmax. The loss applies one, too: return the scores.",
    hidden_blocks="Some blocks have no parameters that PyTorch knows. It does not look into plain lists.",
    channels_ignored="The argument `channels` does not set the number and the widths of the blocks.",
    classes_ignored="The last layer does not follow the argument `num_classes`.",
    k_ignored="The argument k does not reach the blocks.",
    big_maps="The maps should become smaller wherever the number of channels changes. Where does the network pool?",
    small_maps="The maps become too small. The network should pool only where the number of channels changes.",
    names="Later cells need the names `blocks` and, inside it, `block1`, `block2` and so on.",
    fixed_size="The network should accept images of other sizes, too. What turns the last map into a vector?",
)
def examine_whole_network(answer):
    net = network_of(call(answer))
    X = torch.randn(4, 3, 32, 32)
    scores = tensor_of(call(net, X, may_change=True), (4, 10), what="The output for four images")
    ensure(not is_close(scores.exp().sum(1), torch.ones(4)), "softmax_at_end")
    ensure(not (is_close(scores.sum(1), torch.ones(4)) and (scores >= 0).all()), "softmax_at_end")
    small = network_of(call(answer, channels=(4, 8), k=2, num_classes=7))
    convolutions = _branches(small)
    ensure(convolutions, "hidden_blocks")
    ensure({conv.out_channels for conv in convolutions} >= {4, 8}, "channels_ignored")
    ensure(len([conv for conv in convolutions if conv.out_channels == 8 and conv.in_channels == 4]) == 2, "k_ignored")
    ensure(call(small, X, may_change=True).shape == (4, 7), "classes_ignored")
    sizes = []
    for conv in _branches(net):
        conv.register_forward_hook(lambda layer, inputs, output: sizes.append(output.shape[-1]))
    call(net, X, may_change=True)
    ensure(sizes and sizes[-1] <= 8, "big_maps")  # two poolings before the last block
    ensure(sizes[-1] == 8, "small_maps")
    inside = dict(getattr(net, "blocks", nn.Identity()).named_children())
    ensure({"block1", "block2", "block3", "block4"} <= set(inside), "names")
    with hint_is("fixed_size"):
        call(net.eval(), torch.randn(1, 3, 48, 48), may_change=True)


@exercise(
    "02.parameters",
    "the costs of a gated block, by hand",
    two_numbers="Two numbers are expected: [by_hand, macs].",
    no_biases="Each output channel of a convolution has a bias, too.",
    no_gate="The gate has one row of weights and one bias for each branch.",
    one_branch="The block has four branches.",
    no_norm="Batch norm learns two numbers per channel.",
    once="The parameters are right. In `macs`, each weight of a convolution counts once for each position of the map.",
    gate_macs="The parameters are right. In `macs`, each weight of the gate counts once for each image.",
    biases_counted="The parameters are right. In `macs`, the biases are left out.",
    wrong_macs="The parameters are right. Count the multiply-adds of one output, then the outputs of all branches.",
)
def examine_costs_by_hand(answer):
    ensure(isinstance(answer, (list, tuple)) and len(answer) == 2, "two_numbers")
    total, macs = (number_of(value) for value in answer)
    weights = 4 * 32 * 16 * 9
    _examine_parameters(total, weights)
    mistakes = {
        "once": (weights, weights + 4 * 16, total),
        "gate_macs": (weights * 256, (weights + 4 * 16) * 256),
        "biases_counted": ((weights + 4 * 32) * 256 + 4 * 17, (weights + 4 * 32) * 256 + 4 * 16),
    }
    for hint, values in mistakes.items():
        ensure(macs not in values, hint)
    ensure(macs == weights * 256 + 4 * 16, "wrong_macs")


def _examine_parameters(total, weights):
    parts = {"no_biases": [4 * 32, 0], "no_gate": [4 * 17, 4 * 16, 0], "no_norm": [2 * 32, 32, 0]}  # the first is right
    right = [values[0] for values in parts.values()]
    ensure(total != weights // 4 + 32 + sum(right[1:]), "one_branch")
    for counted in itertools.product(*parts.values()):  # several parts may be missing: name the first
        if total == weights + sum(counted):
            for hint, value, expected in zip(parts, counted, right, strict=True):
                ensure(value == expected, hint)
            return
    raise Wrong("wrong_value")


@exercise(
    "02.kernels",
    "a kernel that blurs, and one that changes nothing",
    two_kernels="Two tensors of 3x3 numbers are expected: [blur, same].",
    too_bright="The first kernel changes the brightness of a flat region. What should its numbers add up to?",
    no_blur="The first kernel does not blur: a single bright pixel should be spread over its neighbours.",
    not_the_same="The second kernel changes the image. Which of the nine numbers stands for the pixel itself?",
)
def examine_two_kernels(answer):
    ensure(isinstance(answer, (list, tuple)) and len(answer) == 2, "two_kernels")
    blur, same = (tensor_of(kernel, (3, 3), what="A kernel").float() for kernel in answer)
    ensure(abs(float(blur.sum()) - 1) < 1e-3, "too_bright")
    ensure((blur >= 0).all() and (blur > 0.02).sum() >= 5 and blur.max() < 0.6, "no_blur")
    X = torch.randn(1, 1, 6, 6)
    ensure(is_close(F.conv2d(X, same[None, None]), X[:, :, 1:-1, 1:-1]), "not_the_same")
