"""The code of a network is found in cells, files and partials; its digest follows the code and not the comments."""

import functools
import importlib
import linecache
import subprocess
import sys
import textwrap

import pytest
import torchvision
from networks import small_cnn
from networks_by_hand import NetByHand, Wrapper
from patience import PATIENCE
from torch import nn

from utils.models import NETWORKS
from utils.models.source import code_digest, find_by_path, import_path, is_library, source_of, sources_of

CELL = '''\
from torch import nn

class Net(nn.Module):
    """The first one."""
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

class Net(nn.Module):
    def forward(self, X):
        return X  # the second one

    class Inner(nn.Module):
        def forward(self, X):
            return -X
'''


def run_cell(text, number=1):
    """Run a text as a notebook does: with a made-up file name that only linecache knows."""
    file_name = f"/tmp/ipykernel_1/{number}.py"
    linecache.cache[file_name] = (len(text), None, text.splitlines(keepends=True), file_name)
    namespace = {"__name__": "__main__"}
    exec(compile(text, file_name, "exec"), namespace)
    return namespace


def test_a_class_from_a_cell_is_found_as_it_was_typed():
    net = run_cell(CELL)["Net"]
    second = CELL[CELL.rindex("class Net") :].rstrip()
    assert source_of(net) == second
    assert textwrap.dedent(f"    {source_of(net.Inner)}").startswith("class Inner")
    again = run_cell("from torch import nn\nclass Net(nn.Module):\n    def forward(self, X): return 2 * X\n", 2)["Net"]
    assert source_of(net) == second and source_of(again).endswith("return 2 * X")


def test_a_cell_of_ipython_is_one():
    script = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell({CELL!r})
        shell.run_cell("def make(): return Net()")
        shell.run_cell("from utils.models.source import *; print(source_of(Net)); print(source_of(make))")
        shell.run_cell("print(import_path(Net), find_by_path('__main__.Net') is Net, is_library(Net))")
        shell.run_cell("print(sorted(sources_of(Net(), make)))")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=PATIENCE
    )
    expected = CELL[CELL.rindex("class Net") :] + "def make(): return Net()\n\n__main__.Net True False\n"
    assert result.stdout == expected + "['__main__.Net', '__main__.make']\n", result.stderr


def test_functions_lambdas_partials_and_objects_have_a_source():
    assert source_of(small_cnn).startswith("def small_cnn(channels")
    assert source_of(functools.partial(functools.partial(small_cnn, 4), num_classes=3)) == source_of(small_cnn)
    make = lambda: small_cnn(4)  # noqa: E731
    assert source_of(make).strip().startswith("make = lambda: small_cnn(4)")
    assert source_of(NetByHand).startswith("class NetByHand(nn.Module):") and source_of(len) is None
    assert source_of(type("Made", (nn.Module,), {})) is None


def test_an_import_path_leads_back_to_a_class():
    assert import_path(NetByHand) == "networks_by_hand.NetByHand" and find_by_path(import_path(NetByHand)) is NetByHand
    assert import_path(functools.partial(small_cnn, 4)) == "networks.small_cnn"
    assert import_path(NetByHand()) == "networks_by_hand.NetByHand"
    for make in (NETWORKS["gated_backbone"], NETWORKS["plain_cnn"], torchvision.models.resnet18, nn.Sequential):
        assert find_by_path(import_path(make)) is make
    assert find_by_path("torchvision.models.resnet18") is torchvision.models.resnet18


def test_torchvision_is_imported_where_a_record_names_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torchvision.models")]:
        monkeypatch.delitem(sys.modules, name)
    imported = []
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: imported.append(name) or real(name))
    assert find_by_path("torchvision.models.resnet.no_such_net") is None and imported == ["torchvision.models"]


def test_a_class_in_my_network_is_imported(tmp_path, monkeypatch):
    (tmp_path / "my_network.py").write_text(CELL, encoding="utf-8")
    assert find_by_path("my_network.Net") is None
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    net = find_by_path("my_network.Net")
    assert issubclass(net, nn.Module) and find_by_path("my_network.Net.Inner") is net.Inner
    assert find_by_path("my_network.nothing") is None
    monkeypatch.delitem(sys.modules, "my_network")


@pytest.mark.parametrize(
    "path",
    [
        *("os.system", "os.popen", "subprocess.Popen", "builtins.eval", "shutil.rmtree"),
        *("utils.models.source.linecache.os.popen", "utils.models.source.inspect.getsource", "utils.files.remove"),
        *(
            "no_such_module.Net",
            "torchvision.models.no_such_net",
            "utils.models.NETWORKS",
            "torch.load",
            "torch.hub.load",
        ),
        *("antigravity.Net", "Net", ".", "", "__main__", "__main__.os.popen", "networks.small_cnn"),
    ],
)
def test_what_is_not_certain_to_be_a_network_is_refused(path):
    assert find_by_path(path) is None and "antigravity" not in sys.modules


def test_the_suites_own_code_and_torchs_is_a_library():
    libraries = (nn.Sequential, NETWORKS["plain_cnn"], torchvision.models.resnet18, nn.Linear(2, 2))
    assert all(is_library(code) and is_library(functools.partial(code)) for code in libraries)
    assert not any(is_library(code) for code in (NetByHand, small_cnn, functools.partial(small_cnn, 4), NetByHand()))


def test_all_code_that_belongs_to_no_library_is_listed():
    net = Wrapper(nn.Sequential(NetByHand(), torchvision.models.resnet18()))
    assert sorted(sources_of(net)) == ["networks_by_hand.NetByHand", "networks_by_hand.Wrapper"]
    assert sources_of(nn.Linear(2, 2), small_cnn) == {"networks.small_cnn": source_of(small_cnn)}
    assert sources_of(small_cnn(), torchvision.models.resnet18) == {}


CODE = "class Net(nn.Module):\n    def forward(self, X):\n        return self.linear(X)\n"
SAME = [
    "class Net(nn.Module):\n    # a comment\n\n    def forward(self, X):  # another\n        return self.linear(X)",
    'class Net( nn.Module ):\n    "A text"\n    def forward(self,X):\n        "More"\n        return self.linear(X)',
    "class Net(nn.Module):\n  def forward(self, X):\n    return (self\n            .linear(X))\n",
    textwrap.indent(CODE, "    ") + "# a comment at the left\n",
]
OTHER = [
    CODE.replace("self.linear", "self.other"),
    CODE.replace("(X)", "(2 * X)"),
    CODE + "    size = 3\n",
    CODE.replace("X)", "X, a)"),
    CODE.replace("class Net", "@final\nclass Net"),
]


def test_a_digest_changes_with_the_code_and_with_nothing_else():
    digest = code_digest({"__main__.Net": CODE})
    assert len(digest) == 8 and int(digest, 16) >= 0
    assert [code_digest({"__main__.Net": text}) for text in SAME] == [digest] * len(SAME)
    others = [code_digest({"__main__.Net": text}) for text in OTHER] + [code_digest({"__main__.Net2": CODE})]
    assert len({digest, *others}) == len(OTHER) + 2
    assert code_digest({"a": CODE, "b": "x = 1"}) == code_digest({"b": "x=1", "a": CODE}) and code_digest({}) is None


def test_half_a_line_has_a_digest_too():
    lines = [
        "    network=lambda: Net(3))  # the end\n",
        "network=lambda: Net(3))  # the end",
        "network=lambda: Net(4))",
    ]
    first, same, other = (code_digest({"make": line}) for line in lines)
    assert first == same != other
