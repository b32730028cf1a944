"""Notebook 02: examinations of the convolution and of the layers around it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, number_of, tensor_of


@exercise(
    "02.convolve",
    "a convolution by hand",
    flipped="Your kernel seems to be turned by 180 degrees. Compare the indices of K and X in the formula.",
    padded="The output is larger than the formula says: the kernel must lie completely inside the image.",
    transposed="Rows and columns of the kernel are exchanged. Try a kernel whose rows differ.",
    averaged="You divide the sum of the products. Compare with the formula.",
    matrix_product="`@` is the product of matrices. The formula multiplies number by number.",
    not_square="It is right for squares only. Try an image with 4 rows and 6 columns, and a kernel of 2 x 3.",
)
def examine_convolve(answer):
    X, K = torch.randn(5, 5), torch.randn(3, 3)
    right = F.conv2d(X[None, None], K[None, None])[0, 0]
    Y = tensor_of(call(answer, X, K))
    ensure(Y.shape != X.shape, "padded")
    mistakes = {
        "flipped": F.conv2d(X[None, None], K.flip(0, 1)[None, None])[0, 0],
        "transposed": F.conv2d(X[None, None], K.T[None, None])[0, 0],
        "averaged": right / 9,
        "matrix_product": (X.unfold(0, 3, 1).unfold(1, 3, 1) @ K).sum((2, 3)),
    }
    compare(tensor_of(Y, (3, 3)), right, mistakes)
    X, K = torch.randn(4, 6), torch.randn(2, 3)
    with hint_is("not_square"):
        compare(call(answer, X, K), F.conv2d(X[None, None], K[None, None])[0, 0])


@exercise(
    "02.output-size",
    "the size of a convolution's output",
    one_side="Padding adds pixels on both sides of the image.",
    off_by_one="You are one pixel away. Count the positions of a 3x3 kernel in an image of 3x3.",
    rounded_up="If the kernel does not fit any more, this position does not count. Which way do you round?",
    not_whole="A map has a whole number of pixels. Look at the brackets around the fraction in the formula.",
    brackets="The 1 is added to the fraction. It is not divided by the stride.",
    no_stride="With a stride of 2 the map has about half the height. Where does s stand in the formula?",
)
def examine_output_size(answer):
    cases = [(32, 3, 0, 1), (32, 5, 2, 2), (7, 2, 0, 2), (28, 3, 1, 3), (8, 4, 1, 3)]
    results = [number_of(call(answer, n, h, p, s)) for n, h, p, s in cases]
    fractions = [(n + 2 * p - h) / s for n, h, p, s in cases]
    right = [torch.nn.Conv1d(1, 1, h, s, p)(torch.zeros(1, 1, n)).shape[2] for n, h, p, s in cases]
    mistakes = {
        "one_side": [(n + p - h) // s + 1 for n, h, p, s in cases],
        "off_by_one": [size - 1 for size in right],
        "rounded_up": [-(-(n + 2 * p - h) // s) + 1 for n, h, p, s in cases],
        "not_whole": [fraction + 1 for fraction in fractions],
        "brackets": [(n + 2 * p - h + 1) // s for n, h, p, s in cases],
        "no_stride": [n + 2 * p - h + 1 for n, h, p, s in cases],
    }
    ensure(not is_close(results, [round(fraction) + 1 for fraction in fractions]), "rounded_up")
    compare(results, right, mistakes)


@exercise(
    "02.receptive-field",
    "the receptive field by the formula",
    own_stride="A layer's own stride does not widen what this layer sees. Which strides are in the product?",
    no_strides="You add up the kernels as if all strides were 1. What does a pixel of a small map stand for?",
    one_stride="A single stride is not enough. The formula has the product of all strides before the layer.",
    summed="The strides are added up. The formula has their product.",
    from_zero="Without any layer an output sees one pixel, itself.",
    whole_kernels="A 3x3 kernel widens the view by one pixel on each side, so by how many in all?",
)
def examine_receptive_field(answer):
    stacks = [[(3, 1)], [(3, 1), (3, 1)], [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)], [(3, 2), (3, 2)], [(5, 3), (2, 1)]]
    results = [number_of(call(answer, layers)) for layers in stacks]

    def grown(layers, first=1, own=0, less=1, strided=True):
        size, jump = first, 1
        for kernel, stride in layers:
            jump *= stride if own and strided else 1
            size += (kernel - less) * jump
            jump *= stride if strided and not own else 1
        return size

    mistakes = {
        "own_stride": [grown(layers, own=1) for layers in stacks],
        "no_strides": [grown(layers, strided=False) for layers in stacks],
        "from_zero": [grown(layers, first=0) for layers in stacks],
        "whole_kernels": [grown(layers, less=0) for layers in stacks],
        "one_stride": [1 + sum((h - 1) * s for h, s in layers) for layers in stacks],
        "summed": [
            1 + sum((h - 1) * max(1, sum(s for _, s in layers[:i])) for i, (h, _) in enumerate(layers))
            for layers in stacks
        ],
    }
    compare(results, [_seen(layers) for layers in stacks], mistakes)


def _seen(layers):
    """Return how many numbers of a row reach one output; measured by the gradient, without the formula."""
    X = torch.ones(1, 1, 200, requires_grad=True)
    Y = X
    for kernel, stride in layers:
        Y = F.conv1d(Y, torch.ones(1, 1, kernel), stride=stride)
    Y[0, 0, Y.shape[2] // 2].backward()
    return int((X.grad != 0).sum())


@exercise(
    "02.batch-norm",
    "batch normalisation in training mode",
    sample_variance="The variance of batch norm divides by the number of values, not by that number minus one.",
    per_image="Each image is normalised by itself. Which dimensions do the mean and the variance run over?",
    per_position="Every pixel has its own mean here. A channel has one mean, over all images and positions.",
    all_channels="All channels share one mean here. Each channel needs its own.",
    no_root="You divide by the variance. Look at the root in the formula.",
    no_scale="gamma and beta are missing, or do not belong to the channels. They have one number per channel.",
)
def examine_batch_norm(answer):
    X = 3 * torch.randn(6, 4, 3, 2) + 2 * torch.arange(4.0).view(1, 4, 1, 1)
    gamma, beta = torch.tensor([1.0, 2, 3, 4]), torch.tensor([0.0, 5, -5, 1])
    Y = tensor_of(call(answer, X, gamma, beta), X.shape)

    def scaled(dims, correction=0, power=0.5, g=gamma, b=beta):
        mean, variance = X.mean(dims, keepdim=True), X.var(dims, correction=correction, keepdim=True)
        return g.view(1, -1, 1, 1) * (X - mean) / (variance + 1e-5) ** power + b.view(1, -1, 1, 1)

    one, zero = torch.ones(4), torch.zeros(4)
    mistakes = {
        "sample_variance": scaled((0, 2, 3), correction=1),
        "per_image": scaled((1, 2, 3)),
        "per_position": scaled((0,)),
        "all_channels": scaled((0, 1, 2, 3)),
        "no_root": scaled((0, 2, 3), power=1),
        "no_scale": scaled((0, 2, 3), g=one, b=zero),
    }
    if not is_close(Y, scaled((0, 2, 3)), 1e-4) and is_close(Y, scaled((2, 3)), 1e-3):
        raise Wrong("per_image")
    compare(Y, F.batch_norm(X, None, None, gamma, beta, training=True), mistakes)
