"""Keep predictions, and the states of the checks, in the file exercises.json of the run log."""

from __future__ import annotations

from utils.files import read_json, write_json
from utils.runs.run import trainings

FILE = "exercises.json"


def read_notes(kind: str) -> dict:
    """Return the notes of one kind, {name: value}."""
    notes = (read_json(trainings() / FILE) or {}).get(kind)
    return notes if isinstance(notes, dict) else {}


def write_note(kind: str, name: str, value):
    """Keep a note; where nothing can be written, it is not kept, and the lesson continues."""
    path = trainings() / FILE
    notes = read_json(path) or {}
    notes[kind] = read_notes(kind) | {name: value}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, notes)
    except OSError as error:
        print(f"(Not kept, because {path.name} can't be written: {error.strerror}.)")


def predict(name: str, answer=...):
    """Keep a prediction under a name, for `my_prediction` in this or in a later notebook."""
    if answer is ... and name in read_notes("predictions"):
        my_prediction(name)
        return
    if answer is ...:
        print(f"○ {name}: replace `...` by your prediction before you read on.")
        return
    write_note("predictions", name, answer if isinstance(answer, (bool, int, float)) else str(answer))
    print(f"✎ {name}: your prediction is kept: {answer}")


def my_prediction(name: str):
    """Print the prediction that was kept under a name."""
    predictions = read_notes("predictions")
    if name in predictions:
        print(f"✎ {name}: you predicted {predictions[name]}")
    else:
        print(f"○ {name}: there is no prediction of yours.")
