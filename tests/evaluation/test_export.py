"""Exported files compute what the network computes, for batches of any size; what can't be exported is refused."""

import json

import pytest
import torch
from networks import small_cnn, small_gated
from students.student_networks import KINDS
from torch import nn

from tools import export as command
from tools.demo import __main__ as demo
from utils.data.loader import MEAN, STD
from utils.errors import CourseworkError
from utils.evaluation import export
from utils.evaluation.export import export_network
from utils.evaluation.model_card import model_card
from utils.models import GatedBlock
from utils.models.convolution import use_fast_convolutions
from utils.recipes import OURS, SYSTEMS, Recipe, load_run
from utils.recipes.train import laid_out

# The file for older programs (.pt) is TorchScript, which new versions of PyTorch still read, with this warning.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")

HAS_ONNX = all(export.importlib.util.find_spec(package) for package in export.PACKAGES)
IMAGES = torch.randint(0, 256, (67, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def trained_like(net):
    """Return a network as a training leaves it: with statistics, and in the fast forms and layouts."""
    with torch.no_grad():
        net.train()(torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    return use_fast_convolutions(laid_out(net, "cpu")).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a gated network and the folder of its files."""
    torch.manual_seed(0)
    net = small_gated()
    net.insert(2, GatedBlock(8, 8, (3, 1, 1)))
    net, folder = trained_like(net), tmp_path_factory.mktemp("exported")
    export_network(net, folder, IMAGES, name="gated")
    return net, folder


def expected(net, pixels):
    with torch.no_grad():
        X = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        return net(X).softmax(1)


@pytest.mark.parametrize("ending", ["pt2", "pt", "onnx"])
def test_a_file_takes_pixels_in_batches_of_any_size(exported, ending):
    net, folder = exported
    path = folder / f"gated.{ending}"
    if ending == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        program = lambda X: session.run(None, {session.get_inputs()[0].name: X.numpy()})[0]  # noqa: E731
    else:
        program = torch.export.load(path).module() if ending == "pt2" else torch.jit.load(path)
    for size in (1, 5, 40):
        pixels = torch.rand(size, 3, 32, 32)
        p = torch.as_tensor(program(pixels)).detach()
        torch.testing.assert_close(p, expected(net, pixels), rtol=0, atol=1e-6)


def test_the_proof_covers_every_file_and_batch_size_and_every_image(exported):
    _, folder = exported
    parity = json.loads((folder / "parity.json").read_text())
    assert set(parity["files"]) == {path.name for path in folder.glob("gated.*")}
    assert len(parity["files"]) == 2 + HAS_ONNX
    for facts in parity["files"].values():
        assert set(facts["by_batch_size"]) == {"1", "2", "31", "33"}
        assert facts["largest"] == max(facts["by_batch_size"].values()) < 1e-5
        assert facts["same_class"] == 1.0
    seen = []
    export.compare(lambda X: seen.append(X) or X[:, 0, 0], torch.arange(80.0).view(-1, 1, 1, 1), torch.zeros(80, 1))
    assert set(torch.cat(seen).flatten().tolist()) == set(range(80)) and {len(X) for X in seen} == {1, 2, 31, 33}


def test_matlabs_images_stand_in_its_order(exported):
    net, folder = exported
    reference = pytest.importorskip("scipy.io").loadmat(folder / "reference.mat")
    pixels = torch.from_numpy(reference["pixels"]).permute(3, 2, 0, 1)
    assert torch.equal((255 * pixels).round().byte(), IMAGES[: len(pixels)])
    torch.testing.assert_close(torch.from_numpy(reference["probabilities"]), expected(net, pixels), rtol=0, atol=1e-6)
    assert "gated.onnx" in (folder / "import_network.m").read_text()
    assert (folder / "classes.txt").read_text().split()[3] == "cat"


def test_exporting_does_not_change_the_network(exported):
    net, _ = exported
    assert net[0].branches.form == "auto" and export.readable(net)[0].branches.form == "loop"
    cnn = trained_like(small_cnn())
    assert cnn[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert export.readable(cnn)[0].weight.is_contiguous() and type(export.readable(cnn)[0]) is nn.Conv2d
    assert cnn[0].weight.is_contiguous(memory_format=torch.channels_last) and type(cnn[0]) is not nn.Conv2d


def test_without_the_packages_for_onnx_the_rest_is_written_and_the_command_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "PACKAGES", ("no_such_package",))
    (tmp_path / "cnn.onnx").write_text("of an earlier network")
    ending_in_softmax = nn.Sequential(*small_cnn(), nn.Softmax(1)).eval()
    export_network(ending_in_softmax, tmp_path, IMAGES, name="cnn")
    assert export.INSTALL in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("cnn.*")) == ["cnn.pt", "cnn.pt2"]
    p = torch.jit.load(tmp_path / "cnn.pt")(IMAGES[:3].float() / 255)
    X = (IMAGES[:3].float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(p, ending_in_softmax(X), rtol=0, atol=1e-6)  # no second softmax


def test_the_classes_of_another_data_set_have_numbers_and_a_wrapper_is_taken_off(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PACKAGES", ("no_such_package",))
    net = nn.DataParallel(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 12)))
    export_network(net, tmp_path, IMAGES)
    assert (tmp_path / "classes.txt").read_text().split() == [str(number) for number in range(12)]
    assert (tmp_path / "Sequential.pt2").exists()  # named after the network and not after its wrapper


class ByPixels(nn.Module):
    """A network whose computation depends on the pixels."""

    def forward(self, X):
        return X.mean((2, 3)) if X.mean() > 0 else X.amax((2, 3))


class BySize(nn.Module):
    """A network whose computation depends on the number of images."""

    def forward(self, X):
        return X.mean((2, 3)) if len(X) > 16 else X.amax((2, 3))


@pytest.mark.parametrize("network", [ByPixels, BySize])
def test_a_network_that_decides_by_its_batch_is_refused(network, tmp_path):
    (tmp_path / "parity.json").write_text("{}")
    with pytest.raises(CourseworkError, match=network.__name__):
        export_network(network(), tmp_path, IMAGES)
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_an_error(tmp_path, monkeypatch):
    wrong = {tmp_path / "net.pt": lambda X: torch.full((len(X), 10), 0.1)}
    monkeypatch.setattr(export, "write_programs", lambda *arguments: wrong)
    with pytest.raises(CourseworkError, match="net.pt"):
        export_network(small_cnn(), tmp_path, IMAGES, name="net")
    assert json.loads((tmp_path / "parity.json").read_text())["files"]["net.pt"]["largest"] > 1e-4


def test_a_run_is_exported_and_shown_by_its_name_with_its_own_images(data, ledger_folder, monkeypatch, capsys):
    monkeypatch.setattr(export, "PACKAGES", ("no_such_package",))
    monkeypatch.setenv("CIFAR10_SOURCE", "synthetic")
    tiny = Recipe("tiny", "gated_backbone", {"channels": (4, 6, 6)}, batch_size=48, num_epochs=1, mean=(0.5, 0.4, 0.3))
    run = tiny.train(data, effort="check", device="cpu", curves=False).run
    assert command.main([run.name]) == 0
    folder = run.folder / "export"
    assert str(folder) in capsys.readouterr().out
    trained = load_run(run, data, "cpu")
    pixels = trained.test_iter.split.images[:4].float() / 255
    X, _ = trained.test_iter.batch(0, 0)  # normalised with the recipe's own mean
    with torch.no_grad():
        p = torch.jit.load(folder / "tiny.pt")(pixels)
        torch.testing.assert_close(p, trained.net(X[:4]).softmax(1), rtol=0, atol=1e-5)
    assert "uoft-cs/cifar10" not in (folder / "README.md").read_text()  # it was trained on synthetic images
    assert demo.main([run.name]) == 0
    page = (run.folder / "demo.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 10 and "synthetic images" in page


def test_the_hub_can_read_the_cards_header():
    yaml = pytest.importorskip("yaml")
    about = {"data": {"name": "CIFAR-10"}, "test": {"accuracy": 0.9123, "interval": [0.90, 0.92]}, "seed": 0}
    text = model_card("mine: 1", ("cat", "dog"), {"mine.pt": {"largest": 1e-6, "same_class": 1.0}}, about)
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.9123}]
    assert head["model-index"][0]["name"] == "mine: 1" and head["datasets"] == ["uoft-cs/cifar10"]
    assert "model-index" not in yaml.safe_load(model_card("mine", ("cat",), {}, {}).split("---\n")[1])


@pytest.mark.faults
@pytest.mark.parametrize("name", [*SYSTEMS, *OURS])
def test_every_system_can_be_exported(name, tmp_path):
    pytest.importorskip("onnxruntime")
    table = command.export_system(name, tmp_path, IMAGES)
    assert len(table) == 3 and set(table["same class"]) == {"100.00%"}


@pytest.mark.faults
@pytest.mark.parametrize("name", KINDS)
def test_networks_of_others_can_be_exported(name, tmp_path):
    make_net, settings, _ = KINDS[name]
    torch.manual_seed(0)
    net = make_net(**settings)
    with torch.no_grad():
        net(torch.zeros(2, 3, 32, 32))  # lazy layers learn their shapes
    assert len(export_network(net, tmp_path, IMAGES)) >= 2  # ONNX has no operator for every layer
