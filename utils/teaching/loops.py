"""What examinations of training loops share: a network that notes its use, plain steps, and the typical mistakes."""

from __future__ import annotations

import torch
from torch import nn

from utils.teaching.expect import compare, ensure, is_close

RATE = 0.5  # large, so that a mistake in a step is visible
LOSS = nn.CrossEntropyLoss()
LOOP_HINTS = {
    "no_step": "The weights are the same afterwards. Is the order of zero_grad, backward and step right?",
    "no_zero_grad": "The steps use the gradients of earlier batches, too. `backward` adds to `.grad`.",
    "last_batch": "The last batch is smaller, but its images count, too. You seem to leave it out.",
    "one_batch": "Only the first batch is used. Does `return` stand inside the loop?",
    "wrong_steps": "The weights differ from those of plain steps, one for each batch. Look at the lines of the step.",
    "batch_means": "The batches have different sizes, so the mean of their means is not the mean over all images.",
    "not_weighted": "The loss of a batch is a mean. By which number do you multiply it before you add it up?",
    "late": "The loss and the accuracy are those of the scores from before the step.",
    "counts": "The mean over the images is expected. What do you divide the sums by?",
    "swapped": "The first number is the loss, the second one the accuracy.",
}


class Watched(nn.Module):
    """A linear network that notes how it is used: the number of images, training mode, and gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)
        self.uses = []

    def forward(self, X):
        self.uses.append((len(X), self.training, torch.is_grad_enabled()))
        return self.linear(X)


def make_batches(seed=0):
    """Return batches of 6, 6 and 1 examples; the last one has a label that the first ones lack."""
    generator = torch.Generator().manual_seed(seed)
    X, y = torch.randn(13, 4, generator=generator), torch.randint(0, 2, (13,), generator=generator)
    y[-1] = 2
    return list(zip(X.split(6), y.split(6), strict=True))


def train(batches, num_epochs, *, forgets=True, late=False):
    """Return the weights after plain steps, and (loss, correct predictions, images) of each batch of each epoch."""
    net, epochs = Watched(), []
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    for _ in range(num_epochs):
        rows = []
        for X, y in batches:
            if forgets:
                optimizer.zero_grad()
            y_hat = net(X)
            LOSS(y_hat, y).backward()
            optimizer.step()
            y_hat = net(X) if late else y_hat
            rows.append((LOSS(y_hat, y).item(), int((y_hat.argmax(1) == y).sum()), len(y)))
        epochs.append(rows)
    return net.linear.weight.detach(), epochs


def over_images(rows):
    """Return (mean loss, accuracy) over all images of an epoch's batches."""
    total = sum(n for _, _, n in rows)
    return [sum(loss * n for loss, _, n in rows) / total, sum(c for _, c, _ in rows) / total]


def over_batches(rows):
    """Return the means of the batches' means."""
    return [sum(loss for loss, _, _ in rows) / len(rows), sum(c / n for _, c, n in rows) / len(rows)]


def means_over_images(rows):
    """Return the sum of the batches' mean losses, divided by the number of images, and the accuracy."""
    return [sum(loss for loss, _, _ in rows) / sum(n for _, _, n in rows), over_images(rows)[1]]


def totals(rows):
    """Return the sums of the batches' losses and of the correct predictions."""
    return [sum(loss for loss, _, _ in rows), sum(c for _, c, _ in rows)]


def examine_loop(results, net, batches):
    """Examine the weights after a training loop, and its (mean loss, accuracy) of each epoch."""
    count = len(results)
    weights, rows = train(batches, count)
    if not is_close(net.linear.weight, weights):
        others = {
            "no_step": Watched().linear.weight,
            "no_zero_grad": train(batches, count, forgets=False)[0],
            "last_batch": train(batches[:-1], count)[0],
            "one_batch": train(batches[:1], count)[0],
        }
        compare(net.linear.weight, weights, others, otherwise="wrong_steps")
    right = [over_images(epoch) for epoch in rows]
    mistakes = [
        ("batch_means", [over_batches(epoch) for epoch in rows]),
        ("not_weighted", [means_over_images(epoch) for epoch in rows]),
        ("late", [over_images(epoch) for epoch in train(batches, count, late=True)[1]]),
        ("counts", [totals(epoch) for epoch in rows]),
        ("swapped", [pair[::-1] for pair in right]),
        ("counts", [[value / len(batches) for value in totals(epoch)] for epoch in rows]),
    ]
    results, right = torch.tensor(results), torch.tensor(right)
    for hint, wrong in mistakes:  # one of the two numbers may be right
        wrong = torch.tensor(wrong)
        values = torch.where((results - right).abs() < 1e-4, wrong, results)
        ensure(is_close(results, right) or not is_close(values, wrong), hint)
    compare(results, right)
