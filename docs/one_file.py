"""The main run of the course in one file of plain PyTorch, without the library: python docs/one_file.py FOLDER

FOLDER holds the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin and test_batch.bin). The file trains
the recipe `quick` on all 50,000 training images, and measures the 10,000 test images once, at the end. It takes about
five minutes on two CPU cores, and seconds on a GPU.
"""

import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

EPOCHS, BATCH = 8, 1000
SMALL, SMALL_EPOCHS = 24, 5  # the first epochs see images of 24x24 pixels, which take half the time
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)


# The data: a record of the binary files is one byte for the label and 3 x 32 x 32 bytes for the pixels.


def load(folder, names):
    """Return normalised images (n, 3, 32, 32) and labels (n,)."""
    content = b"".join((Path(folder) / f"{name}.bin").read_bytes() for name in names)
    rows = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, 1 + 3 * 32 * 32)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).float() / 255
    return (images - MEAN) / STD, rows[:, 0].long()


def augment(X, mirrored, epoch):
    """Mirror each image in every second epoch, move it by up to two pixels, and shrink it in the first epochs."""
    X = torch.where((mirrored ^ bool(epoch % 2)).view(-1, 1, 1, 1), X.flip(3), X)
    padded = F.pad(X, (2, 2, 2, 2), mode="reflect")
    down, right = torch.randint(0, 5, (2, len(X), 1), device=X.device)
    rows, columns = down + torch.arange(32, device=X.device), right + torch.arange(32, device=X.device)
    each = torch.arange(len(X), device=X.device).view(-1, 1, 1)
    X = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
    if epoch < SMALL_EPOCHS:
        X = F.interpolate(X, (SMALL, SMALL), mode="bilinear", align_corners=False, antialias=True)
    return X


# The network: patch whitening, six gated blocks, the mean of each channel, and ten scores.


class GatedConv(nn.Module):
    """Compute a_1 Conv_1(X) + ... + a_k Conv_k(X), where a = softmax(linear(mean of X)) differs from image to image."""

    def __init__(self, c, d, kernel_sizes=(3, 1, 1)):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, d, size, padding=size // 2) for size in kernel_sizes)
        self.gate = nn.Linear(c, len(kernel_sizes))
        for conv in self.convs:
            nn.init.dirac_(conv.weight.data[:c])  # the first c outputs begin as copies of the inputs

    def forward(self, X):
        a = self.gate(X.mean((2, 3))).softmax(1)  # (B, k)
        return sum(a[:, j].view(-1, 1, 1, 1) * conv(X) for j, conv in enumerate(self.convs))


def block(c, d, pool=()):
    norm = nn.BatchNorm2d(d, momentum=0.4)
    norm.weight.requires_grad_(False)  # the norm learns a shift, but no scale
    return nn.Sequential(GatedConv(c, d), *pool, norm, nn.GELU())


class Net(nn.Module):
    def __init__(self, channels=(48, 144, 144), num_classes=10):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad_(False)
        blocks, c = [], 24
        for d in channels:
            blocks += [block(c, d, [nn.MaxPool2d(2)]), block(d, d)]
            c = d
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(c, num_classes)

    def forward(self, X):
        X = self.blocks(F.gelu(self.whiten(X)))
        return 0.111 * self.head(X.mean((2, 3)))  # small scores at the start allow large steps


@torch.no_grad()
def learn_whitening(conv, images, epsilon=5e-4):
    """Set the kernels so that the outputs are uncorrelated and of equal variance on patches of these images."""
    patches = F.unfold(images.double(), conv.kernel_size).transpose(1, 2).flatten(0, 1)  # (patches, 12)
    variances, directions = torch.linalg.eigh(patches.T.cov(correction=0))
    kernels = (directions / (variances + epsilon).sqrt()).T.view(-1, *conv.weight.shape[1:])
    conv.weight.copy_(torch.cat([kernels, -kernels]))


# The optimizer: Muon for kernels and gates, SGD for everything else.


def orthogonalise(M, steps=3):
    """Return a matrix with the singular vectors of M and singular values near 1, by Newton-Schulz iterations."""
    X = M / M.norm().clamp(min=1e-7)
    X = X.T if M.shape[0] > M.shape[1] else X
    for _ in range(steps):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X.T if M.shape[0] > M.shape[1] else X


# The learning rate and momentum of each kind of parameter. In a short training, the shifts of norms need a large rate.
SETTINGS = {"kernel": (0.24, 0.6), "gate": (0.02, 0.6), "norm": (50.0, 0.85), "other": (1.5, 0.85)}


class Optimizer:
    """Nesterov momentum for all; the updates of the matrices are orthogonalised before the step."""

    def __init__(self, net):
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.momenta = {parameter: torch.zeros_like(parameter) for parameter in trained}
        self.kinds = dict.fromkeys(trained, "other")
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                self.kinds[module.bias] = "norm"
            if isinstance(module, GatedConv):
                self.kinds[module.gate.weight] = "gate"
                self.kinds.update((conv.weight, "kernel") for conv in module.convs)

    @torch.no_grad()
    def step(self, share):
        """Take a step with this share of each learning rate."""
        for parameter, momentum in self.momenta.items():
            kind = self.kinds[parameter]
            lr, beta = SETTINGS[kind]
            momentum.mul_(beta).add_(parameter.grad)
            update = parameter.grad + beta * momentum
            if kind in ("kernel", "gate"):
                matrix = orthogonalise(update.flatten(1))
                rows, columns = matrix.shape
                if kind == "kernel":  # it keeps the norm of a matrix with orthogonal rows
                    parameter.div_(parameter.norm() / rows**0.5)
                update = matrix.view_as(parameter) * max(1, rows / columns) ** 0.5
            parameter.sub_(share * lr * update)
            parameter.grad = None


# Training and evaluation.


def train(net, X, y, epochs=EPOCHS, batch=BATCH):
    """Train with a learning rate that falls along a straight line to zero; return the loss of each epoch."""
    optimizer = Optimizer(net)
    mirrored = torch.rand(len(X), device=X.device) < 0.5
    steps = epochs * -(-len(X) // batch)
    done, losses, begun = 0, [], time.perf_counter()
    for epoch in range(epochs):
        net.train()
        total = correct = 0.0
        for rows in torch.randperm(len(X), device=X.device).split(batch):
            images = augment(X[rows], mirrored[rows], epoch)
            y_hat = net(images)
            loss = F.cross_entropy(y_hat, y[rows], label_smoothing=0.2)
            loss.backward()
            optimizer.step(1 - done / steps)
            total += loss.detach() * len(rows)
            correct += (y_hat.argmax(1) == y[rows]).sum()
            done += 1
        losses.append(float(total) / len(X))
        seconds = time.perf_counter() - begun
        print(
            f"epoch {epoch + 1}: loss {losses[-1]:.3f}, accuracy {float(correct) / len(X):.2%}, {seconds:.0f} s",
            flush=True,
        )
    return losses


@torch.no_grad()
def accuracy(net, X, y, batch=BATCH):
    """Return the fraction of images that the network classifies correctly."""
    net.eval()
    right = sum((net(X_b).argmax(1) == y_b).sum() for X_b, y_b in zip(X.split(batch), y.split(batch), strict=True))
    return float(right) / len(y)


def main(folder, seed=0):
    torch.manual_seed(seed)
    train_X, train_y = (t.to(DEVICE) for t in load(folder, [f"data_batch_{i}" for i in range(1, 6)]))
    test_X, test_y = (t.to(DEVICE) for t in load(folder, ["test_batch"]))
    net = Net().to(DEVICE)
    learn_whitening(net.whiten, train_X[:5000])
    train(net, train_X, train_y)
    print(f"test accuracy: {accuracy(net, test_X, test_y):.2%}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
