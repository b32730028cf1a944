"""Ray nodes on this machine for a test: started one by one, killed with all their processes, and none left behind.

    python ray_nodes.py grid|search

runs a grid or a search on the cluster of RAY_ADDRESS and prints its table as JSON.
"""

import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# Where this file is started as a program:
sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.append(str(pathlib.Path(__file__).resolve().parents[2]))

ATTEMPTS = 8  # a node's start fails if its helpers need more than 15 seconds, as on busy cores
# For slow starts: how long Ray waits for its worker processes, and for an answer of a node before it counts as lost.
PATIENT = {"RAY_worker_register_timeout_seconds": "900", "RAY_health_check_timeout_ms": "60000"}
PATIENT |= {"RAY_worker_niceness": "0"}  # not 15, with which a worker hardly runs on busy cores
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "OMP_NUM_THREADS": "1"}
OPTIONS = ("--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--num-gpus=0")
OPTIONS += ("--object-store-memory=80000000", "--include-log-monitor=false")
AT_HEAD = ("--include-dashboard=false", "--no-monitor")


class CannotStart(Exception):
    """Ray can't start a node on this machine."""


class Cluster:
    """A head node and further nodes, each with one CPU, which only this machine can reach."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: sockets are in it
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address, self.nodes = f"127.0.0.1:{port}", []
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # not the user's own, if any
        self.environ = os.environ | QUIET | PATIENT | token | {"RAY_ADDRESS": self.address}
        self.environ["PYTHONPATH"] = os.pathsep.join(str(pathlib.Path(__file__).resolve().parents[i]) for i in (0, 1))
        self.head = ("--head", f"--port={port}", f"--temp-dir={self.folder}", *AT_HEAD)

    def add(self):
        """Start the head, or a further node, and wait until it is ready; return its process."""
        words = self.head if not self.nodes else (f"--address={self.address}",)
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--node-ip-address=127.0.0.1",
            *words,
            *OPTIONS,
        ]
        environ = {name: value for name, value in self.environ.items() if name != "RAY_ADDRESS"}
        for _ in range(ATTEMPTS):
            out = open(f"{self.folder}/{len(self.nodes)}.txt", "w+")  # noqa: SIM115 - the node writes while it lives
            node = subprocess.Popen(command, env=environ, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder)
            while node.poll() is None:
                if "Ray runtime started" in pathlib.Path(out.name).read_text():
                    self.nodes.append(node)
                    return node
                time.sleep(0.2)
            self.kill(node)
            said = pathlib.Path(out.name).read_text()
        raise CannotStart(f"Ray did not start a node in {ATTEMPTS} attempts; the last words: {said[-300:]}")

    def kill(self, node):
        """Kill a node: all its processes at once."""
        for process in self.processes(node):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait()

    def processes(self, node):
        """Return the numbers of all processes that were started under a node, or of orphans of the cluster."""
        listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines()
        parents, orphans = {}, []
        for line in listing:
            process, parent, arguments = line.split(None, 2)
            parents[int(process)] = int(parent)
            if int(parent) == 1 and self.folder in arguments:
                orphans.append(int(process))
        mine = [node.pid] if node else orphans
        for process in mine:
            mine += [child for child, parent in parents.items() if parent == process]
        return mine

    def stop(self):
        """Kill all nodes and what is left of them, and remove their folder."""
        for node in self.nodes:
            self.kill(node)
        for process in self.processes(None):
            os.kill(process, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)


def work(kind, axes=None, **how):
    """Run the grid (with other axes, if given) or the search of the test; return its table."""
    from networks import PacedCNN
    from short_run import FOR_TRIALS, RECIPE

    from utils.experiments import log_range, run_grid, run_search

    recipe = RECIPE.change(network=PacedCNN, num_epochs=30)
    how |= FOR_TRIALS
    if kind == "grid":
        return run_grid(recipe, axes or {"seed": [0, 1, 2, 3]}, **how)
    return run_search(recipe, {"lr": log_range(0.01, 1.0)}, trials=4, prune=True, **how)


if __name__ == "__main__":
    table = work(sys.argv[1], engine="ray", resources={"CPU": 1})
    print(table.to_json(orient="records"))
