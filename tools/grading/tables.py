"""Writes what a teacher reads and uploads: tables for spreadsheets, Moodle and Canvas, Gradescope's JSON, and pages."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from tools.grading.scheme import BY_HAND, NAMES, task_points
from utils.errors import CourseworkError
from utils.files import write_bytes, write_json
from utils.report.marking import TASKS

TITLE = "Coursework"
MOST = sum(task.marks for task in TASKS)
BY_HAND_FILE, TEMPLATE = "marks-by-hand.csv", Path(__file__).with_name("feedback.html.j2")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that starts with one of these is a formula for a spreadsheet


def as_csv(rows: list[list]) -> bytes:
    """Return rows as a CSV file, which a spreadsheet reads as text and numbers, never as formulas."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue().encode("utf-8-sig", errors="replace")  # with the mark by which Excel knows UTF-8


def _cell(value):
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f"{value:g}"
    text = " ".join(str(value).split())
    return f"'{text}" if text.startswith(FORMULA) else text


def read_by_hand(folder: Path) -> dict[str, dict]:
    """Return {key of the submission: {part: points, "comment": text}} from the table that the teacher fills in.

    The teacher may add columns with the names of other parts.
    """
    path = folder / BY_HAND_FILE
    if not path.exists():
        return {}
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # a spreadsheet may save it in another encoding
        text = content.decode("cp1252", errors="replace")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # and with another character between the cells
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    if "submission" not in header:
        next_step = "Repair the table, or remove it if you have marked nothing in it yet. It was not changed."
        raise CourseworkError("The table of your marks has no column `submission`.", where=path, next_step=next_step)
    return {row["submission"]: row for row in rows if row.get("submission")}


def with_marks_by_hand(result: dict, row: dict) -> dict:
    """Return a result with the teacher's points; a column with the name of another part replaces its points, too."""
    parts = [_marked(part, (row.get(part["name"]) or "").strip().replace(",", ".")) for part in result["parts"]]
    return result | {"parts": parts, "comment": (row.get("comment") or "").strip()}


def _marked(part: dict, text: str) -> dict:
    if not text:
        return part
    if re.fullmatch(r"\d+(\.\d*)?", text) and float(text) <= part["marks"]:
        return part | {"points": float(text), "reason": "marked by your teacher"}
    return part | {"reason": f"{BY_HAND_FILE} has {text!r}; points from 0 to {part['marks']} are expected"}


def total(result: dict) -> float:
    """Return the points of a result so far."""
    return sum(part["points"] or 0 for part in result["parts"])


def still_open(result: dict) -> float:
    """Return the points that a person has still to give or to withhold."""
    return sum(part["marks"] for part in result["parts"] if part["points"] is None)


def write_tables(folder: Path, results: list[dict]):
    """Write all files that hold several students."""
    earlier = read_by_hand(folder)
    header = ["submission", "student", *(part.name for part in BY_HAND), "comment"]
    header += [name for name in NAMES if name not in header and any(name in row for row in earlier.values())]
    new = {result["key"]: {"submission": result["key"], "student": result["student"]} for result in results}
    rows = (new | earlier).values()  # also those of submissions that are no longer in the folder
    write_bytes(folder / BY_HAND_FILE, as_csv([header, *([row.get(name) for name in header] for row in rows)]))
    results = [with_marks_by_hand(result, earlier.get(result["key"], {})) for result in results]
    write_bytes(folder / "grades.csv", as_csv(grades(results)))
    write_bytes(folder / "moodle.csv", as_csv(moodle(results)))
    write_bytes(folder / "canvas.csv", as_csv(canvas(results)))
    write_bytes(folder / "summary.html", page("summary", results=results, shared=shared_work(results)))
    for result in results:
        own = folder / "students" / result["key"]
        own.mkdir(parents=True, exist_ok=True)
        write_bytes(own / "feedback.html", page("feedback", result=result))
        write_json(own / "results.json", gradescope(result))


def grades(results: list[dict]) -> list[list]:
    """Return the rows of grades.csv: for each student and task the points and their reasons."""
    header = ["student", "id", "submission"]
    for task in TASKS:
        header += [f"task {task.number} (of {task.marks})", f"task {task.number}: reasons"]
    rows = [[*header, "points so far", "points still open", "claims that do not match", "notes"]]
    for result in results:
        row = [result["student"], result["id"], result["key"]]
        for task in TASKS:
            points, parts = task_points(result["parts"], task.number)
            row += [points, "; ".join(f"{part['name']} {_points(part)}: {part['reason']}" for part in parts)]
        row += [total(result), still_open(result), " ".join(result["claims"]), " ".join(result["notes"])]
        rows.append(row)
    return rows


def _points(part):
    return f"{'?' if part['points'] is None else format(part['points'], 'g')}/{part['marks']}"


def moodle(results: list[dict]) -> list[list]:
    """Return the rows of a grading worksheet, as Moodle's "Upload grading worksheet" takes it.

    Moodle refuses a worksheet without the column "Last modified (grade)", and skips rows without an identifier.
    """
    rows = [["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", "Feedback comments"]]
    for result in results:
        identifier = f"Participant {result['id']}" if result["id"] else ""
        rows.append([identifier, result["student"], total(result), MOST, "", comments(result)])
    return rows


def canvas(results: list[dict]) -> list[list]:
    """Return the rows of a gradebook, as Canvas's "Import grades" takes it."""
    rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section", TITLE]]
    rows.append(["Points Possible", "", "", "", "", MOST])
    return rows + [[result["student"], result["id"], "", "", "", total(result)] for result in results]


def comments(result: dict) -> str:
    """Return the reasons for a student's points in one text."""
    texts = [f"{NAMES[part['name']].title}: {_points(part)}, {part['reason']}." for part in result["parts"]]
    return " ".join(text.replace("..", ".") for text in [*texts, *result["claims"], result.get("comment", "")])


def gradescope(result: dict) -> dict:
    """Return a result as Gradescope's autograder reports it."""
    tests = []
    for number, part in enumerate(result["parts"], 1):
        test = {"name": part["title"], "number": f"{part['task']}.{number}", "max_score": part["marks"]}
        tests.append(test | {"score": part["points"] or 0, "output": part["reason"], "visibility": "visible"})
    output = " ".join([*result["claims"], *result["notes"], result.get("comment", "")]).strip()
    return {"score": total(result), "output": output, "output_format": "text", "tests": tests, "visibility": "visible"}


def shared_work(results: list[dict]) -> list[str]:
    """List the submissions whose weights or whose notebooks are the same."""
    found = []
    for name, what in (("weights", "the same trained weights"), ("code", "the same code in the notebook")):
        by_value = {}
        for result in results:
            if result.get(name):
                by_value.setdefault(result[name], []).append(result["student"])
        found += [f"{' and '.join(students)} handed in {what}." for students in by_value.values() if len(students) > 1]
    return found


def page(name: str, **values) -> bytes:
    """Return a page as bytes of HTML; every value is escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    functions = {"total": total, "still_open": still_open, "task_points": task_points}
    environment.globals |= functions | {"tasks": TASKS, "most": MOST, "page": name}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(values).encode(errors="replace")
