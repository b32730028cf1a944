"""Give the records of trainings the names of networks as nn.Modules: run once, when the plans of strings went.

python tools/migrate_results.py OLD    # OLD: a checkout of the commit before, whose recipes the records belong to
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.files import plain, write_json  # noqa: E402
from utils.recipes import ABLATIONS, OURS, SYSTEMS  # noqa: E402
from utils.recipes.tables import C_ROWS, D_ROWS  # noqa: E402

OLD_RECIPES = """
import json, sys
sys.path.insert(0, sys.argv[1])
from utils.systems import ABLATIONS, OURS, SYSTEMS
from utils.tables import C_ROWS, D_ROWS
recipes = [*(SYSTEMS | OURS | ABLATIONS).values(), *(row.recipe for row in (*C_ROWS, *D_ROWS))]
print(json.dumps({recipe.name: recipe.describe() for recipe in recipes}))
"""


def main(old):
    answer = subprocess.run(
        [sys.executable, "-c", OLD_RECIPES, old], capture_output=True, text=True, check=True, cwd=old
    )
    old_recipes = json.loads(answer.stdout)
    recipes = [*(SYSTEMS | OURS | ABLATIONS).values(), *(row.recipe for row in (*C_ROWS, *D_ROWS))]
    by_name = {recipe.name: recipe for recipe in recipes}
    for path in sorted((ROOT / "results" / "accuracy").glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        name = record["system"]
        if name not in by_name or record["recipe"] != plain(old_recipes[name]):
            print("left as it is:", path.name)
            continue
        recipe = by_name[name]
        record["recipe"] = plain(recipe.describe())
        about = json.dumps([recipe.describe(), recipe.views, record["data"]["fingerprint"]], sort_keys=True)
        digest = hashlib.sha256(about.encode()).hexdigest()[:8]
        new = path.with_name(f"{path.stem[:-9]}-{digest}.json")
        subprocess.run(["git", "-C", str(ROOT), "mv", str(path), str(new)], check=True)
        write_json(new, record)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
