"""The table of batches and scores: which work in training and in evaluation, and which are refused with an advice."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from utils.errors import CourseworkError
from utils.evaluation import evaluate
from utils.my_utils import accuracy, evaluate_accuracy, loss_and_accuracy, train_ch3, train_epoch_ch3

CLASSES = 10
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(24, 3, 4, 4, generator=GENERATOR)
Y = torch.arange(24) % CLASSES


def batches(images=X, labels=Y):
    """Return three batches of 8 examples."""
    return [(images[i : i + 8], labels[i : i + 8]) for i in (0, 8, 16)]


def changed(position, label):
    """Return the labels with one of them changed."""
    labels = Y.clone()
    labels[position] = label
    return labels


class As(nn.Module):
    """A layer that changes the shape."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, scores):
        return scores.view(-1, *self.shape)


class InPixels(nn.Module):
    """A network that converts its images itself."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(48, CLASSES)

    def forward(self, images):
        return self.linear(images.flatten(1).float() / 255)


def network(*more, classes=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes), *more)


def with_norm():
    return network(nn.BatchNorm1d(CLASSES))


def indexed(y_hat, y):
    """Cross-entropy as a student writes it: a negative label counts from the end."""
    return -y_hat.log_softmax(1)[torch.arange(len(y)), y].mean()


def tolerant(y_hat, y):
    """A loss that accepts labels and scores of any shape."""
    return (y_hat.float().mean() - y.float().mean()) ** 2


def one_hot(y_hat, y):
    return (F.one_hot(y, CLASSES) - y_hat).square().mean()


class ReadOnce:
    """An iterable that is exhausted after one epoch."""

    def __init__(self):
        self.batches = iter(batches())

    def __iter__(self):
        return self.batches


def from_workers():
    return DataLoader(TensorDataset(X, Y), 8, num_workers=1)


# What is given: (network, batches, loss), and what the refusal names; None: it works.
TABLE = {
    "the usual": (network, batches(), F.cross_entropy, None),
    "labels int32": (network, batches(labels=Y.int()), indexed, None),
    "labels int32 for torch's loss": (network, batches(labels=Y.int()), F.cross_entropy, None),
    "labels uint8": (network, batches(labels=Y.byte()), F.cross_entropy, None),
    "one image": (network, [(X[:1], Y[:1])], F.cross_entropy, None),
    "uint8 that the network converts": (InPixels, batches(images=X.byte()), F.cross_entropy, None),
    "worker processes": (network, from_workers(), F.cross_entropy, None),
    "labels (B, 1)": (network, batches(labels=Y[:, None]), tolerant, "(8, 1)"),
    "labels one-hot": (network, batches(labels=F.one_hot(Y, CLASSES)), tolerant, "(8, 10)"),
    "labels one-hot, as many images as classes": (
        network,
        [(X[:CLASSES], F.one_hot(Y[:CLASSES], CLASSES))],
        tolerant,
        "(10, 10)",
    ),
    "labels as floats": (network, batches(labels=Y.float()), tolerant, "float32"),
    "fewer labels than images": (network, [(X[:8], Y[:7])], tolerant, "(7,)"),
    "a label too high at first": (network, batches(labels=changed(2, 12)), F.cross_entropy, "12"),
    "a label too high later": (network, batches(labels=changed(20, 12)), F.cross_entropy, "12"),
    "a label too high, indexed": (network, batches(labels=changed(2, 12)), indexed, "12"),
    "a label too high, one-hot loss": (network, batches(labels=changed(20, 12)), one_hot, "12"),
    "a label too high, tolerant loss": (network, batches(labels=changed(20, 12)), tolerant, "12"),
    "a negative label": (network, batches(labels=changed(20, -1)), indexed, "-1"),
    "an ignored label": (network, batches(labels=changed(20, -100)), F.cross_entropy, "-100"),
    "labels from 1": (network, batches(labels=Y + 1), tolerant, "10"),
    "fewer scores than classes": (lambda: network(classes=7), batches(), F.cross_entropy, "7"),
    "scores (B, 10, 1, 1)": (lambda: network(As(CLASSES, 1, 1)), batches(), tolerant, "(8, 10, 1, 1)"),
    "a single output": (lambda: network(classes=1), batches(), tolerant, "(8, 1)"),
    "a single output (B,)": (lambda: network(As(), classes=1), batches(), tolerant, "(8,)"),
    "a batch of dicts": (network, [{"X": X, "y": Y}], F.cross_entropy, "dict"),
    "three tensors": (network, [(X, Y, Y)], F.cross_entropy, "Tensor, Tensor, Tensor"),
    "NumPy arrays": (network, [(X.numpy(), Y.numpy())], F.cross_entropy, "ndarray"),
    "lists": (network, [(X.tolist(), Y.tolist())], F.cross_entropy, "list"),
    "images alone": (network, [X], F.cross_entropy, "Tensor"),
    "uint8": (network, batches(images=X.byte()), F.cross_entropy, "uint8"),
    "float64": (network, batches(images=X.double()), F.cross_entropy, "float64"),
    "no batch": (network, [], F.cross_entropy, "no batch"),
    "an empty batch": (network, [(X[:0], Y[:0])], F.cross_entropy, "no example"),
}


class Returns(nn.Module):
    """A network whose forward ends with this function of the scores."""

    def __init__(self, end):
        super().__init__()
        self.net, self.end = network(), end

    def forward(self, images):
        return self.end(self.net(images))


def conv():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, CLASSES))


def pictures(*sizes):
    return [(Image.new("RGB", (size, size)), 1) for size in sizes]


def tensors(*sizes):
    return [(torch.zeros(3, size, size), 1) for size in sizes]


TABLE |= {
    "a tuple of scores": (lambda: Returns(lambda y_hat: (y_hat, y_hat)), batches(), F.cross_entropy, "type tuple"),
    "a dict of scores": (lambda: Returns(lambda y_hat: {"y": y_hat}), batches(), F.cross_entropy, "type dict"),
    "one image and squeeze": (lambda: Returns(torch.squeeze), [(X[:1], Y[:1])], F.cross_entropy, "have the shape ("),
    "channels last": (conv, batches(images=X.permute(0, 2, 3, 1)), F.cross_entropy, "(8, 4, 4, 3)"),
    "no channels": (conv, batches(images=X[:, 0]), F.cross_entropy, "(8, 4, 4)"),
    "PIL images": (network, DataLoader(pictures(4, 4), 2), F.cross_entropy, "PIL images"),
    "PIL images from workers": (network, DataLoader(pictures(4, 4), 2, num_workers=1), F.cross_entropy, "PIL images"),
    "images of different sizes": (network, DataLoader(tensors(4, 4, 4, 5), 2), F.cross_entropy, "different sizes"),
    "float32 for a network in float64": (lambda: network().double(), batches(), F.cross_entropy, "in torch.float64"),
}
ONLY_IN_TRAINING = {
    "one image and batch norm": (with_norm, [(X[:1], Y[:1])], F.cross_entropy, "single image"),
    "an iterable that is exhausted": (network, ReadOnce(), F.cross_entropy, "no batch"),
}


def train(net, data, loss):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    return train_ch3(net, data, None, loss, 2, optimizer, curves=False, record=False)["train_acc"][-1]


def train_an_epoch(net, data, loss):
    return train_epoch_ch3(net, data, loss, torch.optim.SGD(net.parameters(), lr=0.01))[1]


def test_while_training(net, data, loss):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    images = X.byte() if isinstance(net, InPixels) else X
    train_iter = batches(images, Y % 7)
    return train_ch3(net, train_iter, data, loss, 1, optimizer, curves=False, record=False)["test_acc"][-1]


USES = {
    "train_ch3": train,
    "test_iter": test_while_training,
    "train_epoch_ch3": train_an_epoch,
    "evaluate_accuracy": lambda net, data, loss: evaluate_accuracy(net, data),
    "loss_and_accuracy": lambda net, data, loss: loss_and_accuracy(net, data, loss)[1],
    "evaluate": lambda net, data, loss: evaluate(net, data)["accuracy"],
}
test_while_training.__test__ = False


def check(use, make, data, loss, refusal):
    """Use a network; check that it works, with a fraction as accuracy, or is refused with these words."""
    if refusal is None:
        assert 0 <= use(make(), data, loss) <= 1
        return
    with pytest.raises(CourseworkError) as caught, warnings.catch_warnings():
        warnings.simplefilter("error")
        use(make(), data, loss)
    assert refusal in caught.value.what and caught.value.where and caught.value.next_step


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("case", TABLE)
def test_batches_and_scores_work_or_are_refused(case, use):
    check(USES[use], *TABLE[case])


@pytest.mark.parametrize("case", ONLY_IN_TRAINING)
def test_batches_that_only_training_refuses(case):
    check(train, *ONLY_IN_TRAINING[case])


@pytest.mark.parametrize("y", [torch.tensor([[0], [1], [2]]), torch.eye(3).long(), torch.arange(2)])
def test_accuracy_refuses_shapes_for_which_it_would_count_wrongly(y):
    with pytest.raises(CourseworkError):
        accuracy(torch.eye(3), y)


def test_a_wrong_label_is_found_in_an_epoch_of_many_batches():
    data = [(X[:2], torch.tensor([0, 12 if i == 5 else 1])) for i in range(100)]
    with pytest.raises(CourseworkError, match="12"):
        evaluate_accuracy(network(), data)


@pytest.mark.parametrize("mixed", [{0}, {1}, {2}, {0, 2}])
@pytest.mark.parametrize("wrong", [None, 0, 1, 2])
def test_an_epoch_may_have_labels_of_both_kinds(mixed, wrong):
    data = batches(labels=Y.clone())
    data = [(images, F.one_hot(y, CLASSES).float() if i in mixed else y) for i, (images, y) in enumerate(data)]
    if wrong is None:
        assert 0 <= train_an_epoch(network(), data, F.cross_entropy) <= 1
        return
    data[wrong][1][1] = 12  # a label that is not a class, or shares that do not add up to 1
    with pytest.raises(CourseworkError, match="12"):
        train_an_epoch(network(), data, F.cross_entropy)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.BCEWithLogitsLoss(), F.l1_loss])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_loss_that_compares_numbers_refuses_class_labels(loss):
    with pytest.raises(CourseworkError, match="equal shapes") as caught:
        train(network(), batches(), loss)
    assert "CrossEntropyLoss" in caught.value.next_step


def test_a_network_that_mixes_up_images_and_features_is_told_so():
    net = Returns(lambda y_hat: y_hat.view(-1, 5))
    with pytest.raises(CourseworkError, match="scores for 16 images, but the batch has 8"):
        train(net, batches(), F.cross_entropy)


@pytest.mark.parametrize("wrong", ["images", "network"])
def test_different_kinds_of_floats_come_with_the_conversion_that_helps(wrong):
    data = batches(images=X.double() if wrong == "images" else X)
    with pytest.raises(CourseworkError) as caught:
        evaluate_accuracy(network() if wrong == "images" else network().half(), data)
    assert ("X.float()" if wrong == "images" else "net.float()") in caught.value.next_step


STEPS = {
    "the loss alone": lambda net, X, y, loss, optimizer: loss(net(X), y),
    "the loss of each image": lambda net, X, y, loss, optimizer: F.cross_entropy(net(X), y, reduction="none"),
    "nothing": lambda net, X, y, loss, optimizer: None,
    "three things": lambda net, X, y, loss, optimizer: (loss(net(X), y), net(X), 3),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_does_not_return_loss_and_scores_is_refused(name):
    net = network()
    with pytest.raises(CourseworkError, match="must return two things"):
        train_epoch_ch3(net, batches(), F.cross_entropy, torch.optim.SGD(net.parameters(), 0.1), step=STEPS[name])


@pytest.mark.parametrize("wrong", [lambda: [*torch.tensor(1.0)], lambda: divmod(*None), lambda: exec("a, b = None")])
def test_an_error_in_a_step_of_ones_own_is_passed_on(wrong):
    net = network()
    with pytest.raises(TypeError):
        train_epoch_ch3(
            net, batches(), F.cross_entropy, torch.optim.SGD(net.parameters(), 0.1), step=lambda *arguments: wrong()
        )


class OneDimension(nn.Sequential):
    """Asks for a dimension that is not there; the error names the numbers -1, 0 and 1, which are also labels."""

    def forward(self, images):
        super().forward(images)[0].softmax(dim=1)


class SeventhLayer(nn.Sequential):
    """Asks for a layer that is not there; the error names the number 7, which is also a label."""

    def forward(self, images):
        return self[7](images)


class BytesAndText(nn.Sequential):
    """Adds a text to images of type uint8; the error has the word "type" in it."""

    def forward(self, images):
        return images + "1"


@pytest.mark.parametrize("kind", [OneDimension, SeventhLayer, BytesAndText])
def test_an_error_of_the_networks_own_is_not_blamed_on_the_batch(kind):
    data = batches(images=X.byte() if kind is BytesAndText else X, labels=Y)
    net = kind(nn.Flatten(), nn.Linear(48, CLASSES))
    with pytest.raises((IndexError, TypeError)):
        train_epoch_ch3(net, data, F.cross_entropy, torch.optim.SGD(net.parameters(), lr=0.1))


def test_an_error_of_the_networks_own_is_passed_on():
    class Broken(nn.Linear):
        def forward(self, images):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        evaluate_accuracy(Broken(4, 3), batches())


def test_labels_of_worker_processes_do_not_keep_files_open():
    process = pytest.importorskip("psutil").Process()
    count = getattr(process, "num_fds", None) or process.num_handles  # Windows counts handles
    open_files = []

    class Count(nn.Flatten):
        def forward(self, images):
            open_files.append(count())
            return super().forward(images)[:, :10]

    data = TensorDataset(X.repeat(20, 1, 1, 1), Y.repeat(20))
    evaluate_accuracy(Count(), DataLoader(data, 4, num_workers=1))
    assert len(open_files) == 120 and open_files[-1] - open_files[5] < 20
