"""The room of figures: its public names, and that it costs nothing until one is used."""

import subprocess
import sys

import pytest

from utils import figures


def test_every_public_name_is_a_function_of_the_room():
    assert 0 < len(figures.__all__) <= 40  # names of one kind, show_..., so more than in other rooms
    assert all(callable(getattr(figures, name)) for name in figures.__all__)
    with pytest.raises(AttributeError, match="show_nothing"):
        _ = figures.show_nothing


def test_the_room_imports_matplotlib_only_when_a_figure_is_drawn():
    code = "import sys, utils.figures; print('matplotlib' in sys.modules)"
    code += "; from utils.figures import show_grid; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
