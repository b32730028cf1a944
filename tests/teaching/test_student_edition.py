"""The student edition: no solution and no answer is in it, its checks fail with a hint, its links lead somewhere."""

import ast
import hashlib
import itertools
import json
import re
from pathlib import PurePosixPath

import pytest
import test_exercises
from test_exercises import TABLES, checks, defined, value_of

from tools import make, notebooks, publish, student_edition
from tools.rules import as_python
from tools.student import YOUR_CODE, solutions, stub
from utils.teaching import examine

LONG = 60  # characters of consecutive text that may not occur; shorter ones, such as the head of a loop, may
SHOWN = (  # lines of notebook 04 that it repeats on purpose
    "return float(sums[0]) / sums[1]",  # in the evaluation in which the reader looks for the missing eval()
    "train_loss, train_acc = train_epoch(net, train_iter, loss, optimizer)",  # a call with the library's names
)


@pytest.fixture(scope="module")
def files():
    return student_edition.edition()


@pytest.fixture(scope="module")
def texts(files):
    """Return {name: text} of the notebooks and documents."""
    found = {}
    for name, content in files.items():
        if name.endswith(".md"):
            found[name] = content.decode()
        elif name.endswith(".ipynb"):
            found[name] = "\n".join("".join(cell["source"]) for cell in json.loads(content)["cells"])
    return found


def squeezed(text):
    """Return a text's lines without indentation, comments and empty lines."""
    lines = [re.split(r"\s+#|^#", line)[0].strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line)


def removed_lines(cell):
    """Return the groups of lines of a cell that its student's text lacks."""
    kept = set(squeezed(stub(cell.source, solutions(cell))).splitlines())
    groups = [[]]
    for line in squeezed(cell.source).splitlines():
        if line in kept:
            groups.append([])
        else:
            groups[-1].append(line)
    return [group for group in groups if group]


def long_runs(lines):
    """Return the shortest runs of consecutive lines that are long enough to be told from an idiom."""
    for start in range(len(lines)):
        for end in range(start + 1, len(lines) + 1):
            if sum(map(len, lines[start:end])) > LONG:
                yield lines[start:end]
                break


def test_no_solution_is_in_a_notebook_or_document(texts):
    squeezed_texts = {name: f"\n{squeezed(text)}\n" for name, text in texts.items()}
    groups = [
        (path.name, group)
        for path in notebooks.paths()
        for cell in notebooks.read(path).cells
        if cell.cell_type == "code" and solutions(cell)
        for group in removed_lines(cell)
    ]
    assert len(groups) > 60
    for owner, group in groups:
        for run in long_runs(group):
            found = [name for name, text in squeezed_texts.items() if "\n" + "\n".join(run) + "\n" in text]
            assert not found or set(SHOWN) & set(run), (owner, run, found)


def test_hidden_cells_are_left_out(texts):
    hidden = {
        (path.name, cell.source)
        for path in notebooks.paths()
        for cell in notebooks.read(path).cells
        if "hidden" in cell.metadata.get("tags", [])
    }
    assert hidden
    for name, source in hidden:
        assert source not in texts[f"notebooks/{name}"]


def test_no_answer_is_in_a_notebook_or_document(texts):
    answers = (student_edition.ROOT / "docs/answers.md").read_text(encoding="utf-8")
    joined = " ".join(re.sub(r"[*`]", "", answers).split())
    sentences = [part for part in re.split(r"(?<=[.:?])\s", joined) if len(part) > LONG]
    everything = {name: " ".join(re.sub(r"[*`]", "", text).split()) for name, text in texts.items()}
    assert len(sentences) > 100
    for sentence in sentences:
        assert not [name for name, text in everything.items() if sentence in text], sentence


def test_what_is_for_teachers_is_kept_back(files):
    assert not [name for name in files if re.search(r"answers|rubric|teaching\.md|tools/grad|^tests/|\.github", name)]
    assert {"docs/assignment.md", "utils/teaching/check.py", "notebooks/06_experiments.ipynb"} < set(files)
    assert any(name.startswith("results/weights/") for name in files)


@pytest.mark.parametrize("number", TABLES)
def test_outputs_are_cleared_and_checks_and_set_up_stay(files, number):
    (path,) = notebooks.paths([number])
    complete, student = notebooks.read(path), json.loads(files[f"notebooks/{path.name}"])
    cells = [cell for cell in student["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    sources = ["".join(cell["source"]) for cell in cells]
    assert sources[0] == publish.setup_cell()
    calls = [cell.source for cell in complete.cells if "check" in cell.metadata.get("tags", [])]
    assert calls and set(calls) <= set(sources)
    assert sum(YOUR_CODE in source for source in sources) >= 6


@pytest.mark.parametrize("number", TABLES)
def test_each_check_of_the_student_edition_fails_with_a_hint(files, number, monkeypatch):
    (path,) = notebooks.paths([number])
    wanted = [names for _, names in test_exercises.code_cells(number)]
    cells = [cell for cell in json.loads(files[f"notebooks/{path.name}"])["cells"] if cell["cell_type"] == "code"]
    sources = [as_python("".join(cell["source"])) for cell in cells]
    monkeypatch.setattr(test_exercises, "code_cells", lambda number: list(zip(sources, wanted, strict=True)))
    names = defined(number)
    for name, text in checks(number).items():
        outcome = examine(name, value_of(text, names))
        assert outcome.state != "solved" and outcome.hint != "unusable" and len(outcome.text) > 20, outcome


def reads(node):
    """Return the names that a statement reads when it runs: those in the body of a function are read later."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return set()
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Load)}


@pytest.mark.parametrize("number", TABLES)
def test_a_cell_to_complete_does_not_use_its_answer_before_the_check(number):
    (path,) = notebooks.paths([number])
    cells = [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    for cell, following in itertools.pairwise(cells):
        if names := set(solutions(cell)):
            assert "check" in following.metadata.tags, cell.id
            body = ast.parse(stub(cell.source, names)).body
            used = {ast.unparse(node) for node in body if reads(node) & names}
            assert used <= {"torch.save(state, path)"}, (cell.id, used)  # torch.save takes anything, also `...`


def test_nothing_names_a_file_or_command_that_is_kept_back(files, texts):
    kept_back = {path.as_posix() for path in make.tracked_files() or make.files_on_disk()} - set(files)
    targets = {name for name in make.TARGETS if make.NEEDED.get(name, "tools/make.py") in [*files, "tools/bench"]}
    library = {name: content.decode() for name, content in files.items() if re.match(r"utils/.*\.(py|j2)$", name)}
    assert {"tools/grade.py", "docs/answers.md"} < kept_back and {"lab", "bench"} < targets < set(make.TARGETS)
    for name, text in (texts | library).items():
        assert not [path for path in kept_back if re.search(rf"(?<![\w/]){re.escape(path)}", text)], name
        assert set(re.findall(r"`make (\w+)[ `]", text)) <= targets, name
        modules = {module.replace(".", "/") for module in re.findall(r"python -m (tools[\w.]*\w)", text)}
        assert not [path for path in modules if not {f"{path}.py", f"{path}/__main__.py"} & set(files)], name


def test_links_lead_to_files_of_the_edition(files, texts):
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for name, text in texts.items():
        if name.endswith(".ipynb"):
            cells = json.loads(files[name])["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            path = student_edition.posixpath.normpath(f"{PurePosixPath(name).parent}/{link}")
            assert path in files or path in folders, (name, link)


def test_the_same_edition_gives_the_same_bytes(files, tmp_path):
    first = student_edition.packed(files)
    again = student_edition.packed(dict(reversed(student_edition.edition().items())))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    student_edition.write_folder(tmp_path / "student", {"old.txt": b"old"})
    student_edition.write_folder(tmp_path / "student", files)
    written = {path for path in (tmp_path / "student").rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "student").as_posix() for path in written} == set(files)
