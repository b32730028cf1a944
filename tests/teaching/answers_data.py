"""Notebook 01: other right answers, and wrong ones with the hint that each should get."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from answers_training import ACCURACY, EVALUATION, evaluation, loop
from torch import nn

from utils import my_utils
from utils.data import MEAN, STD, BatchLoader, Crop, Flip, Split, stratified_split


def numbered(change=lambda rows, labels: rows, seeded=lambda seed: seed, stratified=True):
    """Return a split that finds its rows with the library's function."""

    def rows_to_hold_out(labels, share, seed):
        images = torch.arange(len(labels)).view(-1, 1, 1, 1)
        split = Split(images, labels)
        if not stratified:
            generator = torch.Generator().manual_seed(seed)
            return torch.randperm(len(labels), generator=generator)[: round(share * len(labels))]
        _, part = stratified_split(split, round(share * len(labels)), seeded(seed))
        return change(part.images.flatten(), labels)

    return rows_to_hold_out


def standard(images, mean=MEAN, std=STD, *, scale=255.0, power=1, own=(), shape=(-1, 1, 1), ndim=None):
    if ndim is not None and images.ndim != ndim:
        raise ValueError("a batch is expected")
    X = images.double() / scale
    m, s = torch.tensor(mean).view(shape), torch.tensor(std).view(shape)
    if own:
        m, s = X.mean(own, keepdim=True), X.std(own, keepdim=True)
    return ((X - m) / s**power).float()


class Examples(torch.utils.data.Dataset):
    """A Dataset with switches for its mistakes."""

    length, order, early, pair, transforms, label_at, spoils = None, 1, False, True, True, 0, False

    def __init__(self, split, transform=None):
        self.split, self.transform = split, transform
        if self.early and transform is not None:
            self.kept = [transform(image) for image in split.images]

    def __len__(self):
        return self.length or self.split.images.shape[0]

    def __getitem__(self, i):
        image, label = self.split.images[i], int(self.split.labels[i - self.label_at])
        if self.spoils and self.transform is not None:
            image.zero_()
        if self.transforms and self.transform is not None:
            image = self.kept[i] if self.early else self.transform(image)
        return (image, label) if self.pair else image


class NoDefault(Examples):
    def __init__(self, split, transform):
        super().__init__(split, transform)


class NoLength:
    def __init__(self, split, transform=None):
        pass


def examples(**switches):
    return type("Changed", (Examples,), switches)


def cut(top_first=True, mode="constant", shift=0, size=None, pads=True, dtype=None):
    def crop(image, top, left, padding=4):
        height, width = image.shape[1:]
        top, left = (top, left) if top_first else (left, top)
        border = (padding,) * 4 if pads else (0,) * 4
        padded = F.pad(image.float(), border, mode=mode) if any(border) else image.float()
        padded = F.pad(padded, (0, shift, 0, shift))
        rows, columns = size or height, size or width
        window = padded[:, top + shift : top + shift + rows, left + shift : left + shift + columns]
        return window.to(dtype or image.dtype)

    return crop


def gradient(divided=True, sign=1, truth=1.0, turn=False, scores=False, columns=False):
    def weight_gradient(net, X, y):
        with torch.no_grad():
            y_hat = net(X)
            p = y_hat.clone() if scores else nn.functional.softmax(y_hat, dim=1)
            p[slice(None) if columns else range(len(y)), y] -= truth
            total = sign * torch.einsum("nk,nj->kj", p, X.flatten(1)) / (len(y) if divided else 1)
        return total.T if turn else total

    return weight_gradient


def by_hand(epoch=None, *, epochs=0, reset=True):
    """Return a loop over epochs around one of answers_training's epochs, or the library's."""

    def train_by_hand(net, train_iter, num_epochs, lr):
        optimizer = torch.optim.SGD(net.parameters(), lr)
        history = []
        for _ in range(num_epochs + epochs):
            row = (epoch or my_utils.train_epoch_ch3)(net, train_iter, nn.CrossEntropyLoss(), optimizer)
            history.append(row)
        if not reset:
            history = [
                [sum(values) / n for values in zip(*history[:n], strict=True)] for n in range(1, len(history) + 1)
            ]
        return history

    return train_by_hand


def loaders(*, shuffles=(True, False), augment=(True, False), drop=False, double=1, mean=MEAN, both=True):
    """Return a function that makes two of the library's loaders, with switches for their mistakes."""

    def make_loaders(train, val, batch_size):
        made = []
        for split, shuffle, change in zip((train, val), shuffles, augment, strict=True):
            options = {"shuffle": shuffle, "augment": (Flip(), Crop(4)) if change else (), "drop_last": drop}
            made.append(Epochs(BatchLoader(split, double * batch_size, mean=mean, **options)))
        return made if both else made[0]

    return make_loaders


class Epochs:
    """Give the next epoch's batches with each pass, whatever the loader counts."""

    def __init__(self, loader):
        self.loader, self.epoch = loader, -1

    def __iter__(self):
        self.epoch += 1
        return iter([self.loader.batch(epoch=self.epoch, i=i) for i in range(len(self.loader))])


ALSO_RIGHT = {
    "01.split": numbered(),
    "01.standardise": standard,
    "01.dataset": Examples,
    "01.batches": math.ceil(45_000 / 128),
    "01.flip": lambda image: torch.from_numpy(np.ascontiguousarray(image.numpy()[..., ::-1])),
    "01.crop": cut(),
    "01.loaders": loaders(),
    "01.accuracy": lambda y_hat, y: torch.tensor(my_utils.accuracy(y_hat, y).item()),
    "01.loop": by_hand(),
    "01.share-correct": evaluation(evals=False),
    "01.gradient": gradient(),
}
WRONG = {
    "01.split": {
        "mask": numbered(lambda rows, labels: torch.isin(torch.arange(len(labels)), rows)),
        "labels": numbered(lambda rows, labels: labels[rows]),
        "ignores_classes": numbered(stratified=False),
        "others": numbered(lambda rows, labels: torch.tensor(sorted({*range(len(labels))} - {*rows.tolist()}))),
        "not_random": numbered(seeded=lambda seed: 0),
        "not_repeatable": numbered(seeded=lambda seed: int(torch.randint(0, 10**6, ()))),
    },
    "01.standardise": {
        "not_scaled": lambda images, mean=MEAN, std=STD: standard(images, mean, std, scale=1),
        "own_statistics": lambda images, mean=MEAN, std=STD: standard(images, own=(0, 2, 3)),
        "no_mean": lambda images, mean=MEAN, std=STD: standard(images, (0.0, 0, 0), std),
        "no_std": lambda images, mean=MEAN, std=STD: standard(images, mean, (1.0, 1, 1)),
        "variance": lambda images, mean=MEAN, std=STD: standard(images, mean, std, power=2),
        "wrong_dimension": lambda images, mean=MEAN, std=STD: standard(images, mean, std, shape=(-1,)),
        "arguments": lambda images, mean=MEAN, std=STD: standard(images),
        "batches_only": lambda images, mean=MEAN, std=STD: standard(images, mean, std, ndim=4),
    },
    "01.dataset": {
        "length": NoLength,
        "no_pair": examples(pair=False),
        "wrong_example": examples(label_at=1),
        "no_default": NoDefault,
        "not_transformed": examples(transforms=False),
        "transformed_once": examples(early=True),
        "changes_images": examples(spoils=True),
    },
    "01.batches": {"dropped": 45_000 // 128, "not_whole": 45_000 / 128, "images": 45_000, "wrong_value": 128},
    "01.flip": {
        "upside_down": lambda image: image.flip(-2),
        "turned": lambda image: image.flip(-1, -2),
        "colours": lambda image: image.flip(-3),
        "transposed": lambda image: image.transpose(-1, -2),
        "images_only": lambda image: image[:, :, range(image.shape[2] - 1, -1, -1)],
        "changes_inputs": lambda image: image.copy_(image.flip(-1)),
    },
    "01.crop": {
        "exchanged": cut(top_first=False),
        "not_padded": cut(pads=False),
        "not_black": cut(mode="reflect"),
        "from_original": cut(shift=2),
        "wrong_size": cut(size=3),
        "converted": cut(dtype=torch.float32),
    },
    "01.loaders": {
        "two_loaders": loaders(both=False),
        "dropped": loaders(drop=True),
        "wrong_size": loaders(double=2),
        "not_shuffled": loaders(shuffles=(False, False)),
        "not_augmented": loaders(augment=(False, False)),
        "shuffled_validation": loaders(shuffles=(True, True)),
        "augmented_validation": loaders(augment=(True, True)),
        "not_standardised": loaders(mean=(0.0, 0.0, 0.0)),
    },
    "01.accuracy": ACCURACY,
    "01.loop": {
        "no_step": by_hand(loop(zero="between")),
        "no_zero_grad": by_hand(loop(zero="never")),
        "last_batch": by_hand(loop(skip=1)),
        "batch_means": by_hand(loop(means=True)),
        "late": by_hand(loop(late=True)),
        "epochs": by_hand(epochs=-1),
        "not_reset": by_hand(reset=False),
    },
    "01.share-correct": EVALUATION,
    "01.gradient": {
        "not_divided": gradient(divided=False),
        "sign": gradient(sign=-1),
        "no_truth": gradient(truth=0.0),
        "logits": gradient(scores=True),
        "transposed": gradient(turn=True),
        "wrong_place": gradient(columns=True),
    },
}
