"""The documents beside the README: links lead somewhere, targets exist, the order of the rooms is the library's."""

import re
from pathlib import Path

import pytest

import utils
from tools import make

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("CHANGELOG.md", "CONTRIBUTING.md", "docs/developers.md", "docs/lab-notes.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_files_and_targets_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    for target in re.findall(r"\bmake ([a-z]+)", "\n".join(re.findall(r"`[^`]+`|^    .*$", text, re.MULTILINE))):
        assert target in make.TARGETS, target


def test_the_manual_lists_the_rooms_in_their_order():
    text = (ROOT / "docs/developers.md").read_text(encoding="utf-8")
    listed = re.search(r"^errors, files[^.]+", text, re.MULTILINE)[0]
    assert tuple(re.split(r",\s+", listed)) == utils.ROOMS
