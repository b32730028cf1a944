"""The page with a network inside computes in a browser what torch computes, and refuses what it can't compute."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest
import torch
from patience import PATIENCE
from torch import nn

from tools.demo.__main__ import main
from tools.demo.layers import list_steps
from tools.demo.page import shipped_samples
from utils.data.loader import MEAN, STD
from utils.errors import CourseworkError
from utils.evaluation import grad_cam_maps
from utils.evaluation.metrics import probabilities
from utils.models import ConstantGate, GatedBlock, TemperatureSoftmax, find_gates, make_gate
from utils.models.basic_layers import GlobalMaxPool, Scale
from utils.recipes import OURS, load_pretrained

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome, and none is installed")


class Residual(nn.Module):
    """A network of one's own: functions, a sum, and layers that our recipes do not have."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 5, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.same = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d((3, 2)), nn.Flatten(), nn.Linear(36, 10))

    def forward(self, X):
        X = torch.relu(self.norm(self.stem(X)))
        X = X + nn.functional.gelu(self.same(X))
        return self.head(nn.functional.max_pool2d(X, 3, 2))


def one_of_each():
    """Return a network with the layers and kinds of gates of the recipes, and a softmax at its end."""
    branches = [nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.LeakyReLU(0.2)), nn.Identity()]
    return nn.Sequential(
        GatedBlock(3, 6, (3, 1, 1), gate=make_gate(3, 3, TemperatureSoftmax(3.0), hidden=4), after=nn.MaxPool2d(3, 2)),
        GatedBlock(6, 6, gate=make_gate(6, 2, nn.Sigmoid()), branches=branches, shortcut=nn.Conv2d(6, 6, 1)),
        nn.Sequential(nn.BatchNorm2d(6), nn.Tanh(), nn.AvgPool2d(2), nn.Dropout(0.5)),
        GatedBlock(6, 8, (3, 5), gate=ConstantGate(2), after=GlobalMaxPool()),
        *(Scale(3.0), nn.Linear(8, 10), nn.Softmax(1)),  # the softmax at the end is the page's
    )


def random_statistics(net):
    """Give batch norms the statistics of random images, and the weights the precision of the page."""
    with torch.no_grad():
        net.train()(torch.randn(20, 3, 32, 32))
        for weight in net.parameters():
            weight.copy_(weight.half())
    return net.eval()


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {
        "quick": load_pretrained("quick", "cpu"),
        "residual": random_statistics(Residual()),
        "each": random_statistics(one_of_each()),
    }


def normalised(pixels):
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture(scope="module")
def in_browser(networks, tmp_path_factory):
    """Open the page of `quick` once; return its document's texts, and what its script computes for the networks."""
    folder = tmp_path_factory.mktemp("demo")
    assert main(["quick", "--file", str(folder / "demo.html")]) == 0
    page = (folder / "demo.html").read_text(encoding="utf-8")
    pixels = shipped_samples()[0][:2].float() / 255
    models = {
        name: list_steps(net, normalised(pixels)) | {"mean": MEAN, "std": STD, "size": 32}
        for name, net in networks.items()
    }
    script = f"""
    const models = {json.dumps(models)}, images = {json.dumps(pixels.permute(0, 2, 3, 1).flatten(1).tolist())};
    const wait = (ms) => new Promise((done) => setTimeout(done, ms));
    const frame = document.createElement("iframe");
    document.body.append(frame);
    frame.contentDocument.open();  // until it is closed, the page counts as loading, and the browser waits
    (async () => {{
      const answers = {{}};
      for (const [name, model] of Object.entries(models)) {{
        const net = makeNetwork(model);
        answers[name] = images.map((pixels, n) => net({{ pixels, label: n + 3 }})).map(({{ p, gates, map }}) => (
          {{ p: [...p], gates, map: [...map] }}));
      }}
      while (!document.body.dataset.difference) await wait(50);
      const shown = document.getElementById("answer").textContent;
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 32;
      canvas.getContext("2d").drawImage(document.querySelectorAll("#samples img")[9], 0, 0);
      const blob = await new Promise((done) => canvas.toBlob(done));
      const dropped = new DataTransfer();
      dropped.items.add(new File([blob], "truck.png", {{ type: "image/png" }}));
      document.dispatchEvent(new DragEvent("drop", {{ dataTransfer: dropped, bubbles: true, cancelable: true }}));
      for (let n = 0; n < 400 && document.getElementById("answer").textContent === shown; n++) await wait(50);
      const result = {{ answers, shown, dropped: document.getElementById("answer").textContent }};
      const place = document.createElement("pre");
      place.id = "result";
      place.textContent = btoa(JSON.stringify(result));
      document.body.append(place);
    }})().finally(() => frame.contentDocument.close());"""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    (folder / "tested.html").write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu"]
    command = [BROWSER, *options, f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    command.append((folder / "tested.html").as_uri())
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    result = re.search(r'<pre id="result">([^<]*)</pre>', done.stdout)
    assert result, done.stderr[-2000:]
    return pixels, done.stdout, json.loads(base64.b64decode(result[1]))


@needs_browser
@pytest.mark.parametrize("name", ["quick", "residual", "each"])
def test_probabilities_gates_and_grad_cam_are_torchs(in_browser, networks, name):
    pixels, _, result = in_browser
    net, X = networks[name], normalised(pixels)
    gates = {}
    with torch.no_grad():
        for block, gate in find_gates(net).items():
            gate.register_forward_hook(lambda module, inputs, a, block=block: gates.update({block: a}))
        p = probabilities(net(X))
    maps = grad_cam_maps(net, X, torch.tensor([3, 4])).flatten(1)
    answers = result["answers"][name]
    torch.testing.assert_close(torch.tensor([answer["p"] for answer in answers]), p, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor([answer["map"] for answer in answers]), maps, rtol=0, atol=1e-3)
    assert maps.std() > 0.05
    for n, a in enumerate(gates.values()):
        shown = torch.tensor([answer["gates"][n] for answer in answers])
        torch.testing.assert_close(shown, a, rtol=0, atol=1e-5)


@needs_browser
def test_the_page_answers_compares_itself_with_torch_and_takes_a_dropped_picture(in_browser):
    _, document, result = in_browser
    assert float(re.search(r'data-difference="([^"]+)"', document)[1]) < 1e-3
    assert result["shown"].startswith("airplane") and result["dropped"].startswith("truck")
    assert document.count('class="score"') == 10 and document.count('class="block"') == 6
    assert not re.search(r"""(src|href|action)=["'](?!data:)""", document)


@pytest.mark.parametrize(
    ("net", "named"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(3600, 10)), "GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(5400, 10)), "groups=3"),
        (nn.Sequential(nn.MaxPool2d(3, 2, padding=1), nn.Flatten(), nn.Linear(768, 10)), "padding=1"),
    ],
)
def test_a_layer_that_the_script_does_not_have_is_named(net, named):
    with pytest.raises(CourseworkError, match=named):
        list_steps(net, torch.zeros(2, 3, 32, 32))


def test_a_forward_that_cannot_be_followed_is_refused():
    class ByPixels(nn.Module):
        def forward(self, X):
            return X.mean((2, 3)) if X.mean() > 0 else X.amax((2, 3))

    with pytest.raises(CourseworkError, match="torch.fx"):
        list_steps(ByPixels(), torch.zeros(2, 3, 32, 32))


def test_a_network_above_ten_megabytes_is_refused_with_its_size():
    with pytest.raises(CourseworkError, match=r"11\.3 MB"):
        list_steps(OURS["best_gated"].make_network(), torch.zeros(2, 3, 32, 32))
