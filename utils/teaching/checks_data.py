"""Notebook 01: examinations of the split, of standardised images, of a Dataset, of augmentation, and of a gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from utils.data import MEAN, STD, Split
from utils.teaching.exercises import exercise
from utils.teaching.expect import call, compare, ensure, hint_is, is_close, number_of, tensor_of


def make_images(*shape):
    """Return random images of type uint8."""
    return torch.randint(0, 256, shape).to(torch.uint8)


@exercise(
    "01.split",
    "a stratified split",
    mask="The numbers of the rows are expected, not a mask with one truth value for each image.",
    labels="Labels, or positions inside a class, are not rows of the whole set. Some rows occur twice.",
    ignores_classes="The classes do not keep their shares. In which loop do you choose?",
    others="These are the rows that stay. The rows that are held out are wanted.",
    not_random="Two seeds give the same rows. Where does a random number come in?",
    not_repeatable="The same seed gives other rows the second time. Which generator draws the numbers?",
)
def examine_split(answer):
    labels = torch.tensor([0, 1, 2, 1, 0, 1] * 10)  # 20, 30 and 10 images
    rows = call(answer, labels, 0.3, 1)
    ensure(not (isinstance(rows, torch.Tensor) and rows.dtype == torch.bool), "mask")
    rows = tensor_of(rows, whole=True)
    ensure(rows.ndim == 1 and len(rows) and len(rows.unique()) == len(rows), "labels")
    ensure(int(rows.min()) >= 0 and int(rows.max()) < len(labels), "labels")
    counts = torch.bincount(labels[rows], minlength=3).tolist()
    ensure(counts != [14, 21, 7], "others")
    ensure(counts == [6, 9, 3], "ignores_classes")
    again, other = call(answer, labels, 0.3, 1), call(answer, labels, 0.3, 2)
    ensure(torch.equal(rows, again), "not_repeatable")
    ensure(set(rows.tolist()) != set(other.tolist()), "not_random")


@exercise(
    "01.standardise",
    "standardised images",
    not_scaled="The constants belong to pixels from 0 to 1. Which number do you divide by first?",
    own_statistics="You compute mean and standard deviation of these images. Use the constants of the training images.",
    no_mean="The mean is not subtracted.",
    no_std="The standard deviation is missing, or multiplies in place of dividing.",
    variance="You divide by the square of the standard deviation.",
    wrong_dimension="The constants belong to the channels. Which shape do they need beside (3, height, width)?",
    arguments="The arguments `mean` and `std` are not used.",
    batches_only="A single image (3, 32, 32) should work as well as a batch. Have your constants too many dimensions?",
)
def examine_standardise(answer):
    images = make_images(5, 3, 3, 3)  # as high and wide as there are channels, so that a wrong dimension fits, too
    X, one = images.float() / 255, (1, 1, 1)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    flat_mean, flat_std = torch.tensor(MEAN), torch.tensor(STD)
    dims = (0, 2, 3)
    mistakes = {
        "not_scaled": (255 * X - mean) / std,
        "own_statistics": (X - X.mean(dims, keepdim=True)) / X.std(dims, keepdim=True),
        "no_mean": X / std,
        "no_std": X - mean,
        "variance": (X - mean) / std**2,
        "wrong_dimension": (X - flat_mean) / flat_std,
    }
    Y = tensor_of(call(answer, images), images.shape)
    for spread in (X.std(dims, correction=0, keepdim=True), X.std()):
        ensure(not any(is_close(Y, (X - m) / spread) for m in (X.mean(dims, keepdim=True), X.mean())), "own_statistics")
    ensure(not is_close(Y, (X - mean) * std), "no_std")
    mixed = ((X - mean) / flat_std, (X - flat_mean) / std)
    ensure(not any(is_close(Y, wrong) for wrong in mixed), "wrong_dimension")
    compare(Y, (X - mean) / std, mistakes)
    ensure(is_close(call(answer, images, (0.0, 0.0, 0.0), one), X), "arguments")
    with hint_is("batches_only"):
        compare(call(answer, images[0]), ((X - mean) / std)[0])


@exercise(
    "01.dataset",
    "a Dataset",
    length="`len(dataset)` should be the number of images.",
    no_pair="An example is a pair: (image, label).",
    wrong_example="Example i is not image i with its label.",
    no_default="The argument `transform` may be left out. Then the image is returned as it is stored.",
    not_transformed="The image is returned without the transform.",
    transformed_once="The transform is called when the dataset is made, so each epoch would see the same variants.",
    changes_images="The stored images change when an example is taken.",
)
def examine_dataset(answer):
    split, calls = Split(make_images(6, 3, 4, 4), torch.arange(6).flip(0)), []

    def transform(image):
        calls.append(1)
        return image.float() + 0.5

    with hint_is("no_default"):
        plain = call(answer, split, may_change=True)
    with hint_is("length"):
        ensure(call(len, plain, may_change=True) == 6, "length")
    example = call(lambda: plain[2])
    ensure(isinstance(example, (tuple, list)) and len(example) == 2, "no_pair")
    ensure(torch.equal(tensor_of(example[0], (3, 4, 4), whole=True), split.images[2]), "wrong_example")
    ensure(number_of(example[1]) == 3, "wrong_example")
    dataset = call(answer, split, transform, may_change=True)
    ensure(not calls, "transformed_once")
    stored = split.images.clone()
    image, label = call(lambda: dataset[4])
    ensure(torch.equal(split.images, stored), "changes_images")
    ensure(is_close(image, stored[4] + 0.5), "not_transformed")
    ensure(number_of(label) == 1, "wrong_example")


@exercise(
    "01.batches",
    "the number of batches in an epoch",
    dropped="The last batch is smaller, but it counts.",
    not_whole="A number of batches is a whole number.",
    images="This is a number of images. How many groups of 128 are they?",
)
def examine_batches(answer):
    compare(number_of(answer), 352, {"dropped": 351, "not_whole": 45_000 / 128, "images": 45_000}, tolerance=1e-6)


@exercise(
    "01.flip",
    "a mirrored image",
    upside_down="The image is upside down. Which dimension holds the columns?",
    turned="The image is turned by half a turn: only the columns change their order.",
    colours="The channels are in reverse order: red and blue are exchanged.",
    transposed="Rows and columns are exchanged.",
    images_only="A batch (B, 3, height, width) should work, too. Count the dimensions from the end.",
)
def examine_flip(answer):
    image = make_images(3, 4, 4)
    mistakes = {
        "upside_down": image.flip(1),
        "turned": image.flip(1, 2),
        "colours": image.flip(0),
        "transposed": image.transpose(1, 2),
    }
    compare(tensor_of(call(answer, image), (3, 4, 4), whole=True), image.flip(2), mistakes)
    batch = make_images(2, 3, 4, 5)
    with hint_is("images_only"):
        compare(call(answer, batch), batch.flip(3))


@exercise(
    "01.crop",
    "a window of a padded image",
    exchanged="`top` counts rows and `left` counts columns. You exchange them.",
    not_padded="The window is cut off. Is there a border on all sides? A slice ends at its beginning plus the size.",
    not_black="The border is not black.",
    from_original="top and left count from the corner of the padded image.",
    wrong_size="The window must be as large as the image was, also at the border. Where do the slices begin and end?",
    converted="The type of the numbers changes. A border of `torch.zeros` has the type that you give it.",
)
def examine_crop(answer):
    image, p = make_images(3, 5, 5), 2
    image[image < 20] = 20  # no black pixel inside
    padded = F.pad(image, (p,) * 4)
    reflected = F.pad(image.float(), (p,) * 4, mode="reflect").to(torch.uint8)

    def window(source, top, left):
        return source[:, top : top + 5, left : left + 5]

    for top, left in [(0, 3), (4, 1), (2, 2)]:
        Y = call(answer, image, top, left, p)
        tensor_of(Y, whole=None)
        ensure(Y.shape == image.shape, "not_padded" if Y.shape == window(image, top, left).shape else "wrong_size")
        ensure(Y.dtype == torch.uint8, "converted")
        mistakes = {
            "exchanged": window(padded, left, top),
            "not_black": window(reflected, top, left),
            "from_original": window(F.pad(padded, (0, p, 0, p)), top + p, left + p),
        }
        compare(Y, window(padded, top, left), mistakes)


@exercise(
    "01.loaders",
    "loaders of training and validation images",
    two_loaders="Two loaders are expected: (train_loader, val_loader).",
    dropped="Some images are missing in an epoch. The last batch is smaller, but it counts.",
    wrong_size="The batches do not have the size that is asked for.",
    not_shuffled="The training images come in the same order in each epoch.",
    not_augmented="The training images are the same in each epoch. Where are they flipped and cropped?",
    shuffled_validation="The validation images are shuffled. That changes no accuracy, but row i is no longer image i.",
    augmented_validation="The validation images change from one pass to the next. We measure on real images.",
    not_standardised="The validation images are not standardised as the training images are.",
)
def examine_loaders(answer):
    train, val = (Split(make_images(26, 3, 32, 32), torch.arange(26)) for _ in range(2))
    loaders = call(answer, train, val, 8, may_change=True)
    ensure(isinstance(loaders, (tuple, list)) and len(loaders) == 2, "two_loaders")
    passes = []  # images and labels of two passes over each loader
    for loader in loaders:
        for _ in range(2):
            batches = call(list, loader, may_change=True)
            ensure(batches and len(batches[0][1]) == 8, "wrong_size")
            X, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
            ensure(sorted(y.tolist()) == list(range(26)), "dropped")
            passes.append((X, y))
    (X_1, y_1), (X_2, y_2), (V_1, v_1), (V_2, v_2) = passes
    ensure(not torch.equal(y_1, y_2), "not_shuffled")
    ensure(not is_close(X_1[y_1.argsort()], X_2[y_2.argsort()]), "not_augmented")
    ensure(torch.equal(v_1, val.labels) and torch.equal(v_2, val.labels), "shuffled_validation")
    ensure(is_close(V_1, V_2), "augmented_validation")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    right = (val.images.float() / 255 - mean) / std
    ensure(is_close(V_1, right) and X_1.dtype == V_1.dtype and float(X_1.mean()) < 0.3, "not_standardised")


@exercise(
    "01.gradient",
    "the gradient of softmax regression by its formula",
    not_divided="The loss is a mean over the batch. What does this do to the gradient?",
    sign="The sign is wrong: the gradient points to where the loss grows.",
    no_truth="For the right class, 1 is subtracted from its probability.",
    logits="The formula needs probabilities. What turns scores into them?",
    wrong_place="`p[:, y]` picks whole columns. One entry of each row is meant: row i and column y[i].",
    transposed="The gradient has the shape of the weights, (classes, inputs).",
)
def examine_weight_gradient(answer):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    X, y = torch.randn(5, 3, 2, 2), torch.tensor([0, 3, 1, 1, 2])
    F.cross_entropy(net(X), y).backward()
    right, net[1].weight.grad = net[1].weight.grad, None
    with torch.no_grad():
        scores = net(X)
    p, q, inputs = scores.softmax(1), F.one_hot(y, 4), X.flatten(1)
    result = call(answer, net, X, y, may_change=True)
    ensure(not (isinstance(result, torch.Tensor) and result.shape == (12, 4)), "transposed")
    mistakes = {
        "not_divided": 5 * right,
        "sign": -right,
        "no_truth": p.T @ inputs / 5,
        "logits": (scores - q).T @ inputs / 5,
        "wrong_place": (p - q.amax(0)).T @ inputs / 5,
    }
    compare(tensor_of(result, (4, 12)), right, mistakes)
