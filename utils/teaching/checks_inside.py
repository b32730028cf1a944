"""Notebook 05: examinations of Grad-CAM, of the gates' separation, of a paired comparison and of merged classes."""

from __future__ import annotations

import torch
from torch import nn

from utils.teaching.exercises import Wrong, exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, number_of, numbers_of, tensor_of


@exercise(
    "05.grad-cam",
    "Grad-CAM",
    no_relu="The map has negative values. The ReLU is missing.",
    per_position="A channel has one weight, the mean of its gradient over all positions.",
    early_relu="The ReLU comes after the sum over the channels.",
    all_classes="The gradient of one score per image is wanted, that of its label.",
    predicted="The map belongs to the class that is asked for, not to the predicted one.",
    one_label="Each image has its own label. You use the first one for all.",
    all_labels="You take the labels of all images for each image. Only its own is wanted: look at `gather`.",
    softmax="The gradient of the score is wanted, before any softmax.",
    summed="The weight of a channel is the mean of its gradient, not the sum.",
    hook_left="The hook is still in the layer. Remove it when it is not needed any more.",
    graph="The maps still have their graph. Look at `detach`.",
)
def examine_grad_cam(answer):
    convolution = nn.Conv2d(3, 5, 3)
    net = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), nn.Linear(5 * 16, 4)).eval()
    X, label = torch.randn(6, 3, 6, 6), torch.tensor([0, 3, 1, 2, 2, 1])
    M = call(answer, net, convolution, X, label, may_change=True)
    ensure(not convolution._forward_hooks, "hook_left")
    A = convolution(X)
    scores = net[1:](A)

    def gradient(chosen):
        return torch.autograd.grad(chosen.sum(), A, retain_graph=True)[0]

    def cam(G, weights=lambda G: G.mean((2, 3), keepdim=True)):
        return (weights(G) * A).sum(1)

    G = gradient(scores.gather(1, label[:, None]))
    mistakes = {
        "no_relu": cam(G),
        "per_position": cam(G, lambda G: G).relu(),
        "early_relu": (G.mean((2, 3), keepdim=True) * A).relu().sum(1),
        "all_classes": cam(gradient(scores)).relu(),
        "predicted": cam(gradient(scores.max(1).values)).relu(),
        "one_label": cam(gradient(scores[:, label[0]])).relu(),
        "all_labels": cam(gradient(scores[:, label])).relu(),
        "softmax": cam(gradient(scores.softmax(1).gather(1, label[:, None]))).relu(),
        "summed": cam(G, lambda G: G.sum((2, 3), keepdim=True)).relu(),
    }
    ensure(not is_close(M, cam(G, lambda G: G.mean(1, keepdim=True)).relu()), "per_position")
    compare(tensor_of(M, (6, 4, 4)), cam(G).relu(), mistakes)
    ensure(not M.requires_grad, "graph")


@exercise(
    "05.separation",
    "how much of the gates' variance lies between the classes",
    two_results="Two results are expected: the fraction, and the mean weights of each class.",
    sample_variance="The variance divides by the number of values here, not by that number minus one.",
    within="This is the fraction within the classes.",
    inverse="The fraction is upside down.",
    first_branch="All branches count: add up their variances before you divide.",
    means_of_ratios="Add up both variances over the branches first, and divide then.",
    pooled="Each branch has its own variance. Over which dimension do you take it?",
    deviations="Variances are compared here, not standard deviations.",
    not_means="The second result is one row of mean weights for each class.",
)
def examine_separation(answer):
    a = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 2, 1] * 6)
    a[y == 1] += torch.tensor([0.5, 0.0, 0.1])
    means = torch.stack([a[y == k].mean(0) for k in range(3)])
    between, whole = means.var(0, correction=0), a.var(0, correction=0)
    right = between.sum() / whole.sum()
    result = call(answer, a, y)
    ensure(isinstance(result, (tuple, list)) and len(result) == 2, "two_results")
    samples = means.var(0).sum() / a.var(0).sum()
    mistakes = {
        "sample_variance": samples,
        "within": 1 - right,
        "inverse": 1 / right,
        "first_branch": between[0] / whole[0],
        "means_of_ratios": (between / whole).mean(),
        "pooled": means.var(correction=0) / a.var(correction=0),
        "deviations": between.sqrt().sum() / whole.sqrt().sum(),
    }
    pooled = means.var() / a.var(), means.mean(1).var(correction=0) / a.var(correction=0)
    ensure(not any(is_close(number_of(result[0]), value) for value in pooled), "pooled")
    compare(number_of(result[0]), right, mistakes)
    ensure(isinstance(result[1], torch.Tensor) and is_close(result[1], means), "not_means")


@exercise(
    "05.paired",
    "a paired comparison",
    unpaired="You treat both measurements as independent. They are of the same images: look at the differences.",
    sign="A loss of accuracy is positive.",
    fraction="Percentage points are expected.",
    no_root="The standard error divides by the root of the number of images.",
    one_sigma="95 % of the values lie within 1.96 standard deviations, not within one.",
    two_numbers="Two numbers are expected: the mean loss and half the width of its interval.",
    full_width="Half the width is wanted: what stands behind the ± sign.",
    booleans="`before` and `after` may hold `False` and `True`. Convert them to numbers before you subtract.",
)
def examine_paired(answer):
    before = torch.tensor([1] * 60 + [0] * 20)
    after = torch.tensor([1] * 50 + [0] * 10 + [1] * 4 + [0] * 16)
    d, n = (before - after).double(), len(before)
    with hint_is("two_numbers", in_place_of=["wrong_type"]):
        values = numbers_of(call(answer, before, after), 2)
    mean, s = 100 * d.mean(), 100 * d.std()
    half = 1.96 * s / n**0.5
    both = (before.double().var() + after.double().var()).sqrt()
    mistakes = {
        "unpaired": [mean, 196 * both / n**0.5],
        "sign": [-mean, half],
        "fraction": [mean / 100, half / 100],
        "no_root": [mean, 1.96 * s / n],
        "one_sigma": [mean, s / n**0.5],
        "full_width": [mean, 2 * half],
    }
    if not is_close(values, [mean, half * ((n - 1) / n) ** 0.5], 1e-3):
        compare(values, [mean, half], mistakes, tolerance=1e-3)
    with hint_is("booleans"):
        compare(numbers_of(call(answer, before.bool(), after.bool()), 2), values, tolerance=1e-3)


@exercise(
    "05.merge",
    "the two classes to merge",
    one_direction="Confusions in both directions become right. You count one of them.",
    diagonal="The right answers are no confusion. Leave the diagonal out.",
    counts="The gain is a fraction of all images.",
    three_results="Three results are expected: two class names and the gain.",
    names="The names of the classes are expected.",
    changed_sum="The gain is a fraction of all images. Is your sum still that of the whole matrix?",
)
def examine_merge(answer):
    C = torch.tensor([[8, 2, 5, 0], [2, 5, 0, 4], [0, 1, 6, 0], [1, 3, 1, 9]])
    classes = ["ant", "bee", "cow", "dog"]
    result = call(answer, C, classes)
    ensure(isinstance(result, (tuple, list)) and len(result) == 3, "three_results")
    ensure(all(isinstance(name, str) for name in result[:2]), "names")
    pair, gain = set(result[:2]), number_of(result[2])
    ensure(len(pair) == 2, "diagonal")
    ensure(pair != {"ant", "cow"} and not is_close(gain, 4 / 47), "one_direction")
    if pair != {"bee", "dog"}:
        raise Wrong("wrong_value")
    ensure(not is_close(gain, 7) and not is_close(gain, 700 / 47), "counts")
    ensure(not any(is_close(gain, 7 / n) for n in (38, 19)), "changed_sum")  # without the diagonal, of C + C.T and of C
    compare(gain, 7 / 47)
