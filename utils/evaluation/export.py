"""Export a trained network to files that other programs read, and prove that the files compute the same.

parity = export_network(trained, "exported")  # a Trained; or any network, with images to compare on:
parity = export_network(load_pretrained("quick"), "exported", data.test.images, name="quick")

The files take pixels from 0 to 1, (B, 3, H, W), and return probabilities, so the normalisation is inside them.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from utils.data.loader import MEAN, STD
from utils.errors import CourseworkError, require
from utils.evaluation.metrics import are_probabilities, names_of_outputs
from utils.evaluation.model_card import about_training, model_card
from utils.evaluation.robustness import normalisation
from utils.files import write_bytes, write_json
from utils.models.convolution import FastConv2d
from utils.models.gated import set_form
from utils.models.source import unwrapped
from utils.runs.run import safe
from utils.training.checks import check_score_shape

IMAGES = 1000  # the files are compared with the network on so many images
BATCH_SIZES = (1, 2, 31, 33)  # one image, the size of the example, and odd sizes: one fast form begins at 32 images
REFERENCES = 10  # images whose probabilities are in reference.mat
TOLERANCE = 1e-4  # the largest difference of a probability; float32 in another order gives some 1e-6
OPSET = 18  # the version of ONNX's operators; a newer one has GELU as one operator, but fewer programs read it
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INSTALL = f"python -m pip install {' '.join(PACKAGES)}"


class FromPixels(nn.Module):
    """A network with its normalisation in front and a softmax behind: pixels from 0 to 1 in, probabilities out.

    example: some pixels, whose scores show whether the network has a softmax at its end already.
    """

    def __init__(self, net: nn.Module, mean, std, example: torch.Tensor):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        with torch.no_grad():
            y_hat = net((example - self.mean) / self.std)
        check_score_shape(y_hat, f"the forward of {type(net).__name__}")
        self.softmax = nn.Identity() if are_probabilities(y_hat) else nn.Softmax(dim=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.net((pixels - self.mean) / self.std))


def export_network(
    net_or_trained,
    folder: str | Path,
    images: torch.Tensor | None = None,
    *,
    name: str | None = None,
    classes: Iterable | None = None,
    mean=MEAN,
    std=STD,
    about: dict | None = None,
) -> pd.DataFrame:
    """Write a network as .pt2, .onnx and .pt into a folder, compare each file with it, and return the comparison.

    For a Trained, its own test images, classes and normalisation are used. For a network, give images (uint8) and what
    differs from CIFAR-10; about: what the model card says of its training, see about_training. The folder also gets
    parity.json (the comparison), reference.mat and import_network.m (for MATLAB), classes.txt and README.md, the model
    card. Without the packages for ONNX, the .onnx file is left out and a message says how to install them.
    """
    net = net_or_trained
    if not isinstance(net, nn.Module):
        what = f"An object of the class {type(net).__name__} cannot be exported."
        require(hasattr(net, "test_iter"), what, "net_or_trained", "Give a network, or what train or load_run returns.")
        net, split = net.net, net_or_trained.test_iter.split
        images = split.images if images is None else images
        classes, name = classes or split.classes, name or net_or_trained.recipe.name
        mean, std = normalisation(net_or_trained.test_iter).values()
        about = about or about_training(net_or_trained)
    net = unwrapped(net)
    is_given = isinstance(images, torch.Tensor) and images.dtype == torch.uint8 and images.ndim == 4 and len(images)
    require(is_given, "There are no images to compare on.", "images", "Give uint8 images, such as data.test.images.")
    folder, name = Path(folder), safe(name or type(net).__name__)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parity.json").unlink(missing_ok=True)  # an old proof of new files would be wrong
    pixels = images[:IMAGES].cpu().float() / 255
    expected = _predict(FromPixels(_on_cpu(net), mean, std, pixels[:2]), pixels)
    names = names_of_outputs(expected.shape[1], classes)
    example = torch.zeros(2, *pixels.shape[1:])  # of two images: one for a batch of one would be correct for one only
    programs = write_programs(FromPixels(readable(net), mean, std, pixels[:2]), example, folder / name)
    parity = {path.name: compare(run, pixels, expected) for path, run in programs.items()}
    write_json(folder / "parity.json", {"images": len(pixels), "tolerance": TOLERANCE, **_versions(), "files": parity})
    write_bytes(folder / "classes.txt", "".join(f"{name}\n" for name in names).encode())
    script = (Path(__file__).parent / "import_network.m").read_text(encoding="utf-8").replace("@@name@@", name)
    write_bytes(folder / "import_network.m", script.encode())
    write_reference(folder / "reference.mat", pixels[:REFERENCES], expected[:REFERENCES])
    write_bytes(folder / "README.md", model_card(name, names, parity, about or {}).encode())
    for file, facts in parity.items():
        what = f"{file} gives other probabilities than the network: they differ by up to {facts['largest']:.2g}."
        require(facts["largest"] <= TOLERANCE, what, folder, "Do not use this file; parity.json has the details.")
    return parity_table(parity)


def _on_cpu(net):
    """Return a copy of the network as it was trained, in eval mode and float32 on the CPU."""
    try:
        net = copy.deepcopy(net)
    except Exception as error:
        what = f"{type(net).__name__} cannot be copied: {error}"
        raise CourseworkError(what, next_step="Keep only layers, parameters and buffers as its attributes.") from error
    net._compiled_call_impl = None
    return net.cpu().float().eval().requires_grad_(False)


def readable(net: nn.Module) -> nn.Module:
    """Return a copy of a network that computes as its formulas say, without the fast forms of the training.

    The fast forms choose by the size of the batch, and their memory layout would be written into the file, too.
    """
    net = set_form(_on_cpu(net), "loop")
    for layer in net.modules():
        if type(layer) is FastConv2d:
            layer.__class__ = nn.Conv2d
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)  # and without a shared storage
    return net


def write_programs(program: nn.Module, example: torch.Tensor, path: Path) -> dict[Path, Callable]:
    """Write path.pt2, path.onnx and path.pt; return {file: function that computes with what is read from the file}."""
    pt2, onnx, pt = (path.with_name(f"{path.name}.{ending}") for ending in ("pt2", "onnx", "pt"))
    with _quiet():
        exported = _exported(program, example)
        _write(pt2, torch.export.save, exported)
        programs = {pt2: torch.export.load(pt2).module()}
        onnx.unlink(missing_ok=True)
        if all(importlib.util.find_spec(package) for package in PACKAGES):
            try:
                programs[onnx] = _write_onnx(exported, onnx)
            except Exception as error:  # above all a layer that ONNX has no operator for
                print(f"The ONNX file is left out. {type(error).__name__}: {_first_line(error)}")
        else:
            print(f"The ONNX file is left out, because it needs more packages. To install them: {INSTALL}")
        _write(pt, torch.jit.save, torch.jit.trace(program, example))
        programs[pt] = torch.jit.load(pt)
    return programs


def _exported(program, example):
    """Return the network as torch.export's program, for batches of any size."""
    name = type(program.net).__name__
    try:
        return torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    except Exception as error:
        what = f"torch.export cannot export {name}: {_first_line(error)}"
        advice = (
            "Its forward must compute the same for all images: no if that depends on pixels or on their number. To get "
            "the number of images, write X.shape[0] in place of len(X)."
        )
        raise CourseworkError(what, where=f"the forward of {name}", next_step=advice) from error


def _write_onnx(exported, path):
    import onnxruntime

    names = {"input_names": ["pixels"], "output_names": ["probabilities"]}
    program = torch.onnx.export(exported, dynamo=True, opset_version=OPSET, verbose=False, **names)
    write_bytes(path, program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda X: torch.from_numpy(session.run(None, {"pixels": X.numpy()})[0])


def _first_line(error):
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _write(path, save, program):
    file = io.BytesIO()
    save(program, file)
    write_bytes(path, file.getvalue())


@contextlib.contextmanager
def _quiet():
    """Silence notes of the exporters that a user can do nothing about, such as tracing being deprecated."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


@torch.no_grad()
def _predict(run, pixels, size=100):
    return torch.cat([run(X) for X in pixels.split(size)])


def compare(run: Callable, pixels: torch.Tensor, expected: torch.Tensor) -> dict:
    """Compare a program with the expected probabilities, in batches of each of the BATCH_SIZES in turn."""
    differences, same = dict.fromkeys(BATCH_SIZES, 0.0), 0
    rows = torch.arange(-(-len(pixels) // sum(BATCH_SIZES)) * sum(BATCH_SIZES)) % len(pixels)  # the last batch is whole
    batches = rows.split(BATCH_SIZES * (len(rows) // sum(BATCH_SIZES)))
    for batch in batches:
        p = _predict(run, pixels[batch], len(batch))
        differences[len(batch)] = max(differences[len(batch)], float((p - expected[batch]).abs().max()))
        same += int((p.argmax(1) == expected[batch].argmax(1)).sum())
    by_size = {str(size): difference for size, difference in differences.items()}
    return {"largest": max(differences.values()), "by_batch_size": by_size, "same_class": same / len(rows)}


def parity_table(parity: dict) -> pd.DataFrame:
    """Return the comparison as a table: for each file the largest differences, and the share of equal classes."""
    rows = {
        file: {f"batches of {size}": f"{value:.0e}" for size, value in facts["by_batch_size"].items()}
        | {"same class": f"{facts['same_class']:.2%}"}
        for file, facts in parity.items()
    }
    return pd.DataFrame(rows).T.rename_axis("largest difference")


def write_reference(path: Path, pixels: torch.Tensor, p: torch.Tensor) -> None:
    """Write images and their probabilities for MATLAB: pixels (H, W, 3, n) and probabilities (n, classes)."""
    try:
        from scipy.io import savemat
    except ImportError:
        print(f"{path.name} is left out, because it needs scipy. To install it: python -m pip install scipy")
        return
    arrays = {"pixels": pixels.permute(2, 3, 1, 0).numpy(), "probabilities": p.numpy()}
    _write(path, lambda arrays, file: savemat(file, arrays), arrays)


def _versions():
    versions = {"torch": torch.__version__, "batch_sizes": list(BATCH_SIZES)}
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        versions["onnxruntime"] = onnxruntime.__version__
    return versions
