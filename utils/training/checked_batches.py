"""The batches of an epoch on the network's device, checked without a wait for the GPU between them."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import Dataset, IterableDataset

from utils.errors import CourseworkError
from utils.training.checks import check_score_shape, name_of_type
from utils.training.measure import place


def check_batches(batches, name, num_epochs, mixed=False):
    """Raise an error unless batches is an iterable that can be read in every epoch."""
    if isinstance(batches, Iterator) and num_epochs > 1:
        what = f"{name} can be read only once, but {num_epochs} epochs need its batches {num_epochs} times."
        next_step = f"Give list({name}) or a DataLoader."
        raise CourseworkError(what, where=name, next_step=next_step)
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        what = f"{name} must yield batches, but is a dataset, which returns single examples."
        next_step = "Give DataLoader(dataset, batch_size=128, shuffle=True)."
        raise CourseworkError(what, where=name, next_step=next_step)
    if not isinstance(batches, Iterable):
        what = f"{name} must be an iterable of batches (X, y), but is {name_of_type(batches)}."
        raise CourseworkError(what, where=name, next_step="Give a BatchLoader, a DataLoader or a list.")
    if isinstance(batches, (list, tuple)):
        for batch in batches:
            check_pair(batch, name, mixed)


def check_pair(batch, name, mixed=False):
    """Raise an error if a batch is not (X, y), images and their labels as tensors."""
    is_sequence = isinstance(batch, (tuple, list))
    if is_sequence and len(batch) == 2 and isinstance(batch[0], torch.Tensor) and isinstance(batch[1], torch.Tensor):
        X, y = batch
        check_labels(y, X.shape[0] if X.ndim else 0, name, mixed)
        return
    content = f"({', '.join(type(item).__name__ for item in batch)})" if is_sequence else name_of_type(batch)
    what = f"Each batch must be a pair (X, y) of tensors, but one is {content}."
    next_step = "Yield images (B, 3, H, W) and labels (B,); torch.from_numpy turns NumPy's arrays into tensors."
    raise CourseworkError(what, where=name, next_step=next_step)


def are_mixed(y):
    """Return True for the labels of mixed images (Mixup, CutMix): the share of each class, floats (B, classes)."""
    return y.ndim == 2 and y.is_floating_point()


def check_labels(y, count, name, mixed=False):
    """Raise an error unless y holds the classes of `count` examples, at least one, as whole numbers.

    Labels of mixed images are only accepted if `mixed` is True: in a training, but never where a network is evaluated.
    """
    is_fitting = count > 0 and y.shape == (count,)
    if is_fitting and not y.is_floating_point():
        return
    if count > 0 and mixed and are_mixed(y) and len(y) == count:
        return
    if is_fitting:
        what = f"Labels must be whole numbers, one for each class, but are {y.dtype}."
        next_step = "Convert them: y.long()."
    elif count == 0:
        what = "A batch has no example."
        next_step = "Leave out empty batches."
    else:
        what = f"Labels must have the shape ({count},), one class for each example, but have {tuple(y.shape)}."
        next_step = "Labels (B, 1): y.squeeze(1). Labels as one-hot vectors (B, classes): y.argmax(1)."
        if are_mixed(y):
            next_step = "Measure on images without Mixup and CutMix. Labels as one-hot vectors: y.argmax(1)."
    raise CourseworkError(what, where=name, next_step=next_step)


def check_scores(y_hat, y, name="y_hat, y"):
    """Raise an error unless y holds a label, or the shares of all classes, and y_hat a score per class, per example."""
    check_score_shape(y_hat, name)
    check_labels(y, y_hat.shape[0], name, mixed=True)
    if are_mixed(y) and y.shape != y_hat.shape:
        what = f"Labels of mixed images must have the scores' shape {tuple(y_hat.shape)}, but have {tuple(y.shape)}."
        raise CourseworkError(what, where=name, next_step="Give the network and the labels the same number of classes.")


class CheckedBatches:
    """An iterable of (X, y) on a device, and a context that checks and explains what goes wrong with them.

        with CheckedBatches(train_iter, net, device, "train_iter") as batches:
            for X, y in batches:
                y_hat = net(X)
                batches.check(y_hat)

    Shapes are checked at once. The values of the labels are checked after the last batch, because reading them
    earlier would wait for a GPU in each batch. An error in the block whose cause is known is replaced by a clearer one.
    mixed: whether the labels may be those of mixed images.
    """

    def __init__(self, batches, net, device, name, mixed=False):
        check_batches(batches, name, 1, mixed)
        self._batches = batches
        self._mixed = mixed
        self._net = net
        self._device = place(net, device)
        self._name = name
        self._X = None
        self._y = None
        self._classes = None
        self._extremes = {}  # the least and the greatest label so far, under False; sum of shares, under True

    def __iter__(self):
        for batch in self._batches:
            check_pair(batch, self._name, self._mixed)
            X, y = batch
            self._X = X.to(self._device, non_blocking=True)
            dtype = y.dtype if y.is_floating_point() else torch.int64  # torch's losses take no int32, for example
            self._y = y.to(self._device, dtype, non_blocking=True)
            yield self._X, self._y
        self._check_values()

    def check(self, y_hat):
        """Check the shape of the batch's scores, and note its least and its greatest label."""
        check_scores(y_hat, self._y, self._name)
        self._classes = y_hat.shape[1]
        mixed = are_mixed(self._y)
        values = self._y.sum(1) if mixed else self._y
        earlier = self._extremes.get(mixed, values[:0])
        self._extremes[mixed] = torch.stack(torch.cat([values, earlier]).aminmax())

    def _check_values(self):
        for mixed, extremes in self._extremes.items():
            least, most = extremes.tolist()
            if mixed:
                _check_shares(least, most, self._name)
            elif least < 0 or most >= self._classes:
                raise self._wrong_labels(least, most, f"but the network has scores for {self._classes} classes")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, (RuntimeError, IndexError, ValueError, TypeError)):
            explained = self._explain_loader(error, trace) or self._explain_step(error, trace)
            if explained is None and self._X is not None:
                explained = self._explain(error)
            if explained is not None:
                raise explained from error

    def _wrong_labels(self, least, most, reason):
        what = f"The labels are from {least} to {most}, {reason.rstrip('.')}."
        next_step = "Labels must be 0, 1, ..., classes - 1. Correct them, or give the last layer more outputs."
        return CourseworkError(what, where=self._name, next_step=next_step)

    def _explain_loader(self, error, trace):
        """Return a CourseworkError if a DataLoader could not join the examples of its data set, else None."""
        message = str(error)
        if "collate" not in message + "".join(traceback.format_tb(trace)):
            return None
        if "PIL" in message:
            what = "The data set returns PIL images, but batches consist of tensors."
            next_step = "Give it a transform that makes tensors: ImageFolder(folder, transforms.ToTensor())."
            return CourseworkError(what, where=self._name, next_step=next_step)
        if "equal size" in message:
            what = f"The images have different sizes, so they can't be one batch: {message.splitlines()[-1]}"
            next_step = "Give all of them one size in the transform: transforms.Resize((32, 32)) before ToTensor()."
            return CourseworkError(what, where=self._name, next_step=next_step)
        return None

    def _explain_step(self, error, trace):
        """Return a CourseworkError if what the training step returned could not be unpacked, else None."""
        is_in_loop = trace.tb_next is None and "unpack" in str(error)
        if is_in_loop or ("0-d tensor" in str(error) and trace.tb_next.tb_next is None):
            what = "A training step must return two things: the loss of the batch, and the scores."
            next_step = "End it with: return batch_loss.detach(), y_hat.detach()"
            return CourseworkError(what, where="step", next_step=next_step)
        return None

    def _explain(self, error):
        """Return a CourseworkError if the last batch explains this error of PyTorch, else None."""
        message = str(error)
        if "device-side assert" in message:  # after this error, nothing can be read from the GPU
            what = "The GPU met an index that is out of range, most likely a label that is not one of the classes."
            next_step = "Restart the kernel, and look at y.min() and y.max(): labels must be 0, ..., classes - 1."
            return CourseworkError(what, where=self._name, next_step=next_step)
        if len(self._X) == 1 and "more than 1 value per channel" in message:
            what = "Batch norm can't train on a batch of a single image, because it needs the variance over the batch."
            next_step = "Choose another batch_size, or let the loader drop its last, small batch: drop_last=True."
            return CourseworkError(what, where=self._name, next_step=next_step)
        if len(self._X) == 1 and "got input" in message:  # in the backward pass of torch's cross-entropy
            what = "The scores of a single image have the shape (classes,) in place of (1, classes)."
            next_step = "Leave out squeeze() in forward, or name the dimensions that it removes: squeeze((2, 3))."
            return CourseworkError(what, where=self._name, next_step=next_step)
        tensors = [*self._net.parameters(), *self._net.buffers()]
        devices = {str(tensor.device) for tensor in [self._X, *tensors]}
        if len(devices) > 1 and "device" in message:
            what = f"The network and the images are on several devices: {', '.join(sorted(devices))}."
            return CourseworkError(what, where=self._name, next_step="Move the whole network: net.to(device).")
        weights = next((tensor for tensor in tensors if tensor.is_floating_point()), None)
        is_of_torch = isinstance(error, RuntimeError)  # a TypeError comes from the student's own code
        if is_of_torch and weights is not None and weights.dtype != self._X.dtype and "type" in message:
            what = f"The images are {self._X.dtype}, but the network computes in {weights.dtype}."
            next_step = "Convert the images: X.float(), and pixels from 0 to 255 by X.float() / 255."
            if self._X.dtype == torch.float32:
                next_step = f"Convert the network: net.float(). Or convert the images: X.to({weights.dtype})."
            return CourseworkError(what, where=self._name, next_step=next_step)
        return self._explain_channels(message) or self._explain_labels(error, message)

    def _explain_channels(self, message):
        shape = tuple(self._X.shape)
        what = f"A convolution needs images (B, channels, height, width), but these have the shape {shape}."
        if len(shape) == 4 and shape[3] in (1, 3) and shape[1] > 3 and "channels" in message:
            return CourseworkError(what, where=self._name, next_step="Move the channels: X.permute(0, 3, 1, 2).")
        if len(shape) == 3 and ("got 3D" in message or f"[1, {', '.join(map(str, shape))}]" in message):
            next_step = "Add a dimension for the only channel: X.unsqueeze(1)."
            return CourseworkError(what, where=self._name, next_step=next_step)
        return None

    def _explain_labels(self, error, message):
        if are_mixed(self._y):
            if re.search("target|index|indices", message):
                what = f"This loss can't use labels {tuple(self._y.shape)} of mixed images: {message}"
                next_step = "Use nn.CrossEntropyLoss and one score per class, or leave out Mixup and CutMix."
                return CourseworkError(what, where=self._name, next_step=next_step)
            return None
        least, most = (int(label) for label in self._y.aminmax())
        out_of_bounds = re.search(r"(?:[Tt]arget|index) (-?\d+) is out of bounds", message)
        is_label = out_of_bounds and int(out_of_bounds[1]) in (least, most)
        if is_label or "Class values" in message:  # the latter is from F.one_hot
            return self._wrong_labels(least, most, f"and the loss can't use them: {message}")
        return None


def _check_shares(least, most, name):
    if not 0.99 < least <= most < 1.01:  # also if they are NaN
        what = f"The shares of an image's classes must add up to 1, but they add up to numbers from {least} to {most}."
        raise CourseworkError(what, where=name, next_step="Divide each image's labels by their sum.")
