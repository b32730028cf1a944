"""Writes what a teacher reads and uploads: tables for spreadsheets, Moodle and Canvas, Gradescope's JSON, and pages."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from tools.grading.scheme import BY_HAND
from utils.errors import CourseworkError
from utils.files import write_bytes, write_json
from utils.report.as_html import POLICY, STYLE
from utils.report.marking import TASKS

TITLE = "Coursework"
MOST = sum(task.marks for task in TASKS)
BY_HAND_FILE, TEMPLATE = "marks-by-hand.csv", Path(__file__).with_name("feedback.html.j2")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that starts with one of these is a formula for a spreadsheet


def as_csv(rows: list[dict]) -> bytes:
    """Return rows as a CSV file, which a spreadsheet reads as text and numbers, never as formulas."""
    text = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: _cell(value) for column, value in row.items()} for row in rows)
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
    rows = [{column: value for column, value in row.items() if column} for row in rows]  # only below a header
    return {row["submission"]: row for row in rows if row.get("submission")}


def finished(result: dict, row: dict) -> dict:
    """Return a result with the teacher's comment and points, which also replace measured ones, and with its sums."""
    parts = [_marked(part, (row.get(part["name"]) or "").strip().replace(",", ".")) for part in result["parts"]]
    tasks = [(task, [part for part in parts if part["task"] == task.number]) for task in TASKS]
    return result | {
        "parts": parts,
        "tasks": [(task, total(own), own) for task, own in tasks],
        "total": total(parts),
        "open": sum(part["marks"] for part in parts if part["points"] is None),
        "comment": (row.get("comment") or "").strip(),
    }


def _marked(part: dict, text: str) -> dict:
    if not text:
        return part
    if re.fullmatch(r"\d+(\.\d*)?", text) and float(text) <= part["marks"]:
        return part | {"points": float(text), "reason": "marked by your teacher"}
    return part | {"reason": f"{BY_HAND_FILE} has {text!r}; points from 0 to {part['marks']} are expected"}


def total(parts: list[dict]) -> float:
    """Return the points of these parts so far."""
    return sum(part["points"] or 0 for part in parts)


def write_tables(folder: Path, results: list[dict]):
    """Write all files that a teacher reads or uploads, and the table for the marks by hand."""
    earlier = read_by_hand(folder)
    empty = dict.fromkeys(["submission", "student", *BY_HAND, "comment"])
    rows = {result["key"]: empty | {"submission": result["key"], "student": result["student"]} for result in results}
    rows |= {key: empty | row for key, row in earlier.items()}  # also of submissions that are no longer in the folder
    write_bytes(folder / BY_HAND_FILE, as_csv(list(rows.values())))
    results = [finished(result, rows[result["key"]]) for result in results]
    write_bytes(folder / "grades.csv", as_csv([grades(result) for result in results]))
    write_bytes(folder / "moodle.csv", as_csv([moodle(result) for result in results]))
    possible = canvas({"student": "Points Possible", "id": None, "total": MOST})
    write_bytes(folder / "canvas.csv", as_csv([possible, *map(canvas, results)]))
    write_bytes(folder / "summary.html", page("summary", results=results, shared=shared_work(results)))
    for result in results:
        own = folder / "students" / result["key"]
        own.mkdir(parents=True, exist_ok=True)
        write_bytes(own / "feedback.html", page("feedback", result=result))
        write_json(own / "results.json", gradescope(result))


def grades(result: dict) -> dict:
    """Return a student's row of grades.csv: for each task the points and their reasons."""
    row = {"student": result["student"], "id": result["id"], "submission": result["key"]}
    for task, points, parts in result["tasks"]:
        reasons = [f"{part['name']} {_points(part)}: {part['reason']}" for part in parts]
        row |= {f"task {task.number} (of {task.marks})": points, f"task {task.number}: reasons": "; ".join(reasons)}
    row |= {"points so far": result["total"], "points still open": result["open"]}
    return row | {"claims that do not match": " ".join(result["claims"]), "notes": " ".join(result["notes"])}


def _points(part):
    return f"{'?' if part['points'] is None else format(part['points'], 'g')}/{part['marks']}"


def moodle(result: dict) -> dict:
    """Return a student's row of a grading worksheet, as Moodle's "Upload grading worksheet" takes it.

    Moodle refuses a worksheet without the column "Last modified (grade)", and skips rows without an identifier.
    """
    reasons = [f"{part['title']}: {_points(part)}, {part['reason']}." for part in result["parts"]]
    comments = [*reasons, *result["claims"], result["comment"]]
    return {
        "Identifier": f"Participant {result['id']}" if result["id"] else "",
        "Full name": result["student"],
        "Grade": result["total"],
        "Maximum Grade": MOST,
        "Last modified (grade)": "",
        "Feedback comments": " ".join(comments).replace("..", "."),
    }


def canvas(result: dict) -> dict:
    """Return a student's row of a gradebook, as Canvas's "Import grades" takes it."""
    empty = dict.fromkeys(["SIS User ID", "SIS Login ID", "Section"])
    return {"Student": result["student"], "ID": result["id"], **empty, TITLE: result["total"]}


def gradescope(result: dict) -> dict:
    """Return a result as Gradescope's autograder reports it."""
    tests = []
    for number, part in enumerate(result["parts"], 1):
        test = {"name": part["title"], "number": f"{part['task']}.{number}", "max_score": part["marks"]}
        tests.append(test | {"score": part["points"] or 0, "output": part["reason"], "visibility": "visible"})
    output = " ".join([*result["claims"], *result["notes"], result["comment"]]).strip()
    facts = {"score": result["total"], "output": output, "output_format": "text", "visibility": "visible"}
    return facts | {"tests": tests}


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
    """Return the page "summary" or "feedback" as bytes of HTML; every value is escaped."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    values |= {"page": name, "most": MOST, "tasks": TASKS, "policy": POLICY}
    return template.render(values, style=STYLE.read_text(encoding="utf-8")).encode(errors="replace")
