"""The room of the data: its public names can be imported from it, and importing it costs nothing."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import utils.data

ROOT = Path(utils.data.__file__).parents[2]


def test_every_public_name_is_the_thing_itself_however_its_module_was_imported():
    modules = {module.name for module in pkgutil.iter_modules(utils.data.__path__)}
    assert len(utils.data.__all__) <= 24 and not modules & set(utils.data.__all__)
    names = {}
    exec(f"from utils.data import {', '.join(utils.data.__all__)}", names)
    assert names["load_cifar10"] is sys.modules["utils.data.cifar10"].load_cifar10
    assert set(utils.data.__all__) <= set(dir(utils.data))


def test_a_name_that_the_room_does_not_have_is_an_import_error():
    code = "from utils.data import nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "cannot import name 'nothing' from 'utils.data'" in done.stderr


def test_importing_the_room_imports_nothing_else():
    code = "import sys, utils.data; print([name for name in ('torch', 'matplotlib', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n"
