"""Every table and curve about DA-Flow by one command: ``python -m benchmarks.research.paper --data DIR``.

Trains, scores and judges what the tables need, each piece once. The values go to ``benchmarks/research/results.json``,
the tables and plots made of them to ``docs/results.md`` and ``docs/images``. Results of the pieces are kept in a
folder, so an interrupted run continues where it stopped and only what has changed is computed again.
``--render-only`` makes tables and plots from the values alone, without data.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import matplotlib
import scipy
import sklearn
import torch
from rich.console import Console

from benchmarks.research.experiments import Workspace, dataset_digest, donors
from benchmarks.research.results import render
from benchmarks.research.runs import Cache, Outcome, all_of, run
from benchmarks.research.tables import TABLES, Options, Plan, Plans, read_home
from model.checkpoint import DEFAULT_CHECKPOINT, CheckpointError, write_atomically
from model.dataset import DatasetError
from model.layouts import LAYOUTS, Dataset
from model.scorer import DeviceUnavailableError, available_device
from model.stgnf import load_stgnf
from model.training import library_versions

FORMAT = 1
_LAYOUTS = [layout for layout in LAYOUTS if layout != "ubnormal-supervised"]  # every table learns from normal life


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 says that something could not be computed."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True)
    values = chosen.values
    if chosen.render_only:
        if not values.is_file():
            parser.error(f"{values}: there are no results to render")
        render(json.loads(values.read_bytes()), chosen.output, values)
        return 0
    if chosen.data is None:
        parser.error("--data is needed: the folder of the data set")
    for name in ("jobs", "epochs", "seeds", "untrained_seeds"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(chosen, name)}")
    try:
        made = _make(chosen, console)
    except (DatasetError, CheckpointError, DeviceUnavailableError) as error:
        parser.error(str(error))
    results = _results(chosen, made)
    write_atomically(values, (json.dumps(results, indent=1, allow_nan=False) + "\n").encode())
    render(results, chosen.output, values)
    console.print(f"{made.outcome.computed} tasks computed; wrote {chosen.output} and {values}")
    for name, why in made.outcome.failed.items():
        console.print(f"[red]failed:[/] {name}\n{why}", highlight=False)
    return 1 if made.outcome.failed else 0


@dataclass(frozen=True, slots=True)
class _Made:
    """What a run was about and what it gave."""

    data: Mapping[str, Dataset]
    digests: Mapping[str, str]
    files: Mapping[str, str]
    plans: Mapping[str, Plan]
    outcome: Outcome


def _make(chosen: argparse.Namespace, console: Console) -> _Made:
    folders = {chosen.name: chosen.data} | dict(chosen.also)
    if len(folders) <= len(chosen.also):
        raise DatasetError("data sets need different names")
    files = {"shipped": DEFAULT_CHECKPOINT}
    if chosen.stgnf_checkpoint is not None:
        load_stgnf(chosen.stgnf_checkpoint)
        files["stgnf"] = chosen.stgnf_checkpoint
    available_device(chosen.device)
    space = Workspace(chosen.layout, folders, files, chosen.cache)
    data = {name: read_home(space, name) for name in folders}
    digests = {name: dataset_digest(own) for name, own in data.items()}
    sums = {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    options = Options(
        chosen.epochs, chosen.seeds, chosen.untrained_seeds, chosen.device, _cpu(), chosen.only or list(TABLES)
    )
    plans = Plans(space, options, data[chosen.name], digests, sums).all()
    tasks = [task for plan in plans.values() for task in plan.tasks()]
    return _Made(data, digests, sums, plans, run(tasks, space, Cache(chosen.cache), jobs=chosen.jobs, console=console))


def _results(chosen: argparse.Namespace, made: _Made) -> dict[str, Any]:
    """All values, and how they came about."""
    done = made.outcome.results
    tasks = all_of(task for plan in made.plans.values() for task in plan.tasks())
    home = made.data[chosen.name]
    lent = donors(home.labels)
    versions = library_versions() | {module.__name__: module.__version__ for module in (scipy, sklearn, matplotlib)}
    provenance = {
        "command": _command(chosen),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "versions": versions,
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "gpu": torch.cuda.get_device_name(chosen.device) if chosen.device != "cpu" else None,
        },
        "jobs": chosen.jobs,
        "epochs": chosen.epochs,
        "seeds": chosen.seeds,
        "untrained_seeds": chosen.untrained_seeds,
        "replicates": 1000,
        "files": dict(made.files),
        "seconds": round(sum(done[task.digest].seconds for task in tasks if task.digest in done), 1),
        "tasks": [
            {"name": task.name, "digest": task.digest, "seconds": round(done[task.digest].seconds, 2)}
            for task in tasks
            if task.digest in done
        ],
        "failed": sorted(made.outcome.failed),
    }
    facts = {
        name: {
            "sha256": made.digests[name],
            "train_clips": len(data.train),
            "test_clips": len(data.test),
            "frames": sum(map(len, data.labels.values())),
            "anomalous": int(sum(own.sum() for own in data.labels.values())),
            "anomalous_clips": sum(bool(own.any()) for own in data.labels.values()),
            "cameras": len({clip.camera for clip in data.train}),
            "hours": sum(map(len, data.labels.values())) / data.frame_rate_hz / 3600,
            "frame_rate_hz": data.frame_rate_hz,
            "donors": len(lent) if name == chosen.name else 0,
        }
        for name, data in made.data.items()
    }
    tables = {name: plan.built(done) for name, plan in made.plans.items()}
    return {"format": FORMAT, "provenance": provenance, "data": facts, "tables": tables}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.research.paper", description="Every table about DA-Flow."
    )
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--layout", default="poselift", choices=_LAYOUTS, help="how data sets lie on disk")
    parser.add_argument("--name", default="PoseLift", help="what to call the data set")
    parser.add_argument(
        "--also", type=_named, action="append", default=[], metavar="NAME=DIR", help="another data set, to cross with"
    )
    parser.add_argument("--cache", type=Path, default=Path("data/paper"), help="folder for results of single tasks")
    parser.add_argument("--jobs", type=int, default=max((os.cpu_count() or 2) - 1, 1), help="processes")
    parser.add_argument("--epochs", type=int, default=20, help="of DA-Flow; STG-NF has its official 8 at most")
    parser.add_argument("--seeds", type=int, default=3, help="of the main rows")
    parser.add_argument("--untrained-seeds", type=int, default=16, help="of flows with random weights")
    parser.add_argument("--stgnf-checkpoint", type=Path, metavar="FILE", help="weights of STG-NF's authors, to judge")
    parser.add_argument(
        "--device", default="cpu", help="with cuda costs are measured there too; all else is computed on the CPU"
    )
    parser.add_argument(
        "--values", type=Path, default=Path("benchmarks/research/results.json"), help="file for the values, as JSON"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/results.md"), help="file for the tables")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=TABLES,
        metavar="TABLE",
        help=f"make these tables alone, and results with nothing else: {', '.join(TABLES)}",
    )
    parser.add_argument("--render-only", action="store_true", help="render the values that are there, without data")
    return parser


def _named(text: str) -> tuple[str, Path]:
    name, found, folder = text.partition("=")
    if not (name and found and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, got {text!r}")
    return name, Path(folder)


def _command(chosen: argparse.Namespace) -> str:
    """The command without folders of this machine, and without what does not change results."""
    parts = ["python -m benchmarks.research.paper", f"--data {chosen.data.resolve().name}"]
    parts += [f"--also {name}={folder.resolve().name}" for name, folder in chosen.also]
    parts += [f"--epochs {chosen.epochs}", f"--seeds {chosen.seeds}", f"--untrained-seeds {chosen.untrained_seeds}"]
    if chosen.stgnf_checkpoint is not None:
        parts.append(f"--stgnf-checkpoint {chosen.stgnf_checkpoint.name}")
    if chosen.device != "cpu":
        parts.append(f"--device {chosen.device}")
    if chosen.only:
        parts.append("--only " + " ".join(f"'{name}'" if " " in name else name for name in chosen.only))
    return " ".join(parts)


def _commit() -> str | None:
    """The commit of this code, with a plus if files differ from it; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    root = Path(__file__).resolve().parents[2]

    def asked(*words: str) -> str | None:
        done = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)  # noqa: S603
        return done.stdout.strip() if done.returncode == 0 else None

    commit = asked("rev-parse", "--short=12", "HEAD")
    return None if commit is None else commit + ("+" if asked("status", "--porcelain", "--", "*.py") else "")


def _cpu() -> str:
    """Name of the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
