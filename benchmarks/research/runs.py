"""Named tasks run in a pool of processes, each result kept in one file, so that nothing is computed twice.

A result lies under the digest of its task: the kind of the task, its settings, and with them the digest of the data. A
run that was interrupted goes on where it stopped; one whose settings changed computes only what depends on them.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.checkpoint import write_atomically

Settings = Mapping[str, Any]
"""Values that JSON has."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Something to compute.

    Attributes:
        name: What to call it on the screen; it does not count for the digest.
        kind: Which function computes it.
        settings: All that its result depends on.
        needs: Tasks that must be done before.
        guess_s: Seconds that it may take on one thread.
        alone: Whether it must run with nothing beside it, as what measures time must.
        digest: What its result is kept under.
    """

    name: str
    kind: str
    settings: Settings
    needs: tuple[Task, ...] = ()
    guess_s: float = 5.0
    alone: bool = False
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        content = json.dumps([self.kind, self.settings], sort_keys=True)
        object.__setattr__(self, "digest", f"{self.kind}-{hashlib.sha256(content.encode()).hexdigest()[:20]}")


@dataclass(frozen=True, slots=True)
class Result:
    """What a task gave.

    Attributes:
        values: The result, values that JSON has.
        seconds: What it took.
    """

    values: Mapping[str, Any]
    seconds: float


class Work(Protocol):
    """Computes a task; must be picklable, as it runs in another process."""

    def __call__(self, kind: str, settings: Settings, digest: str) -> Mapping[str, Any]:
        """The result of the task of that kind, settings and digest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave.

    Attributes:
        results: By digest, of every task that is done.
        failed: Why a task is not, by its name and digest.
        computed: How many were computed now; the others were there.
    """

    results: Mapping[str, Result]
    failed: Mapping[str, str]
    computed: int


class Cache:
    """A folder with one file for each result.

    Args:
        folder: The folder; it is made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, task: Task) -> Result | None:
        """The result of a task, if it is there; a damaged file counts as none."""
        try:
            stored = json.loads((self.folder / f"{task.digest}.json").read_bytes())
            return Result(stored["result"], stored["seconds"])
        except (OSError, ValueError, KeyError):
            return None

    def keep(self, task: Task, result: Result) -> None:
        """Write a result, wholly or not at all."""
        content = {"name": task.name, "settings": task.settings, "result": result.values, "seconds": result.seconds}
        write_atomically(self.folder / f"{task.digest}.json", json.dumps(content, indent=1, allow_nan=False).encode())


def all_of(tasks: Iterable[Task]) -> list[Task]:
    """The tasks and all that they need, each digest once, needs before what needs them."""
    found: dict[str, Task] = {}

    def add(task: Task) -> None:
        for need in task.needs:
            add(need)
        found.setdefault(task.digest, task)

    for task in tasks:
        add(task)
    return list(found.values())


def run(tasks: Sequence[Task], work: Work, cache: Cache, *, jobs: int, console: Console) -> Outcome:
    """Compute what is missing: the longest first, those that must run alone at the end.

    A task that fails does not stop the others, only those that need it.

    Args:
        tasks: What is asked for; what they need is computed as well.
        work: Computes one.
        cache: Where results are kept.
        jobs: Processes; with 1 everything happens in this one.
        console: Where the progress goes.
    """
    wanted = all_of(tasks)
    results = {task.digest: result for task in wanted if (result := cache.load(task)) is not None}
    missing = [task for task in wanted if task.digest not in results]
    console.print(_account(wanted, missing, results, jobs))
    failed: dict[str, str] = {}
    with _Pool(work, jobs) as pool, _progress(console) as bar:
        line = bar.add_task("", total=len(missing))
        for group in (False, True):
            waiting = sorted((task for task in missing if task.alone == group), key=lambda task: -task.guess_s)
            running: dict[Future[Result], Task] = {}
            while waiting or running:
                for task in _ready(waiting, results, failed, 1 if group else jobs, len(running)):
                    waiting.remove(task)
                    running[pool.submit(task, inside=group)] = task
                for task in [task for task in waiting if any(need.digest in failed for need in task.needs)]:
                    waiting.remove(task)
                    failed[task.digest] = "a task that it needs failed"
                    bar.advance(line)
                if not running:
                    continue
                bar.update(line, description=next(iter(running.values())).name)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    try:
                        results[task.digest] = future.result()
                        cache.keep(task, results[task.digest])
                    except Exception as error:
                        failed[task.digest] = "".join(traceback.format_exception(error))
                    bar.advance(line)
    named = {f"{task.name} ({task.digest})": failed[task.digest] for task in missing if task.digest in failed}
    return Outcome(results, named, len(missing) - len(failed))


def _ready(
    waiting: Sequence[Task], results: Mapping[str, Result], failed: Mapping[str, str], jobs: int, running: int
) -> list[Task]:
    able = [
        task
        for task in waiting
        if all(need.digest in results for need in task.needs) and not any(need.digest in failed for need in task.needs)
    ]
    return able[: max(jobs - running, 0)]


def _account(wanted: Sequence[Task], missing: Sequence[Task], results: Mapping[str, Result], jobs: int) -> str:
    """How much is left; guesses are corrected by what finished tasks of the kind took."""
    left = 0.0
    for kind in {task.kind for task in missing}:
        done = [
            (task.guess_s, results[task.digest].seconds)
            for task in wanted
            if task.kind == kind and task.digest in results
        ]
        guessed, taken = (sum(column) for column in zip(*done, strict=True)) if done else (1.0, 1.0)
        left += sum(task.guess_s for task in missing if task.kind == kind) * taken / max(guessed, 1e-9)
    longest = max((sum(part.guess_s for part in all_of([task])) for task in missing), default=0.0)
    trainings = sum(task.kind == "train" for task in missing)
    text = f"{len(wanted)} tasks, {len(wanted) - len(missing)} done before, {len(missing)} left ({trainings} trainings)"
    if not missing:
        return text
    minutes = max(left / jobs, min(longest, left)) / 60
    return f"{text}; about {minutes:.0f} min with {jobs} job{'s' if jobs > 1 else ''}"


def _progress(console: Console) -> Progress:
    return Progress(
        MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console
    )


class _Pool:
    """Processes that compute, or this one if there is to be only one."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 else None

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, task: Task, *, inside: bool) -> Future[Result]:
        """Compute a task; `inside` this process if asked to, which then must be idle."""
        arguments = (self._work, task.kind, task.settings, task.digest)
        if self._pool is not None and not inside:
            return self._pool.submit(_timed, *arguments)
        future: Future[Result] = Future()
        try:
            future.set_result(_timed(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def _timed(
    work: Callable[[str, Settings, str], Mapping[str, Any]], kind: str, settings: Settings, digest: str
) -> Result:
    torch.set_num_threads(1)
    start = time.perf_counter()
    values = work(kind, settings, digest)
    return Result(values, time.perf_counter() - start)
