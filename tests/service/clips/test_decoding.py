from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest

from service.clips.decoding import ClipLimits, ClipRejected, frames, inspect
from tests.doubles import media

LIMITS = ClipLimits(max_seconds=60, max_pixels=1920 * 1080, max_fps=240, stall_s=20, memory_bytes=4 * 1024**3)


def decoder_process() -> psutil.Process:
    (decoder,) = [child for child in psutil.Process().children() if "service.clips.decoding" in child.cmdline()]
    return decoder


def test_frames_arrive_whole_and_in_order(tmp_path: Path) -> None:
    path = media.clip(tmp_path)
    with frames(path, LIMITS) as source:
        decoded = list(source)
    assert [media.frame_number(frame.image) for frame in decoded] == list(range(inspect(path, LIMITS).frames))
    assert decoded[0].image.shape == (240, 320, 3)
    assert all(frame.camera_id == path.name for frame in decoded)


def test_leaving_early_ends_the_decoder(tmp_path: Path) -> None:
    with frames(media.clip(tmp_path), LIMITS) as source:
        next(source)
        process = decoder_process()
    assert not process.is_running()


@pytest.mark.parametrize(
    ("limit", "make", "cause", "sentence"),
    [
        ({"max_seconds": 0.5}, media.clip, "too-long", r"lasts 1\.0 s; at most 0\.5 s"),
        ({"max_pixels": 1000}, media.clip, "too-many-pixels", "320x240 = 76800 pixels; at most 1000"),
        ({"max_fps": 60}, media.fast, "frame-rate-too-high", "120 frames per second; at most 60"),
        ({}, lambda folder: media.clip(folder, size=(16, 16)), "too-small", "16x16 pixels; at least 32x32"),
        ({}, lambda folder: media.clip(folder, size=(640, 16)), "too-small", "640x16 pixels; at least 32x32"),
        ({}, lambda folder: media.clip(folder, size=(30, 640)), "too-small", "30x640 pixels; at least 32x32"),
        ({"budget_frames": 9}, media.clip, "too-long", "more than the 9 frames"),
    ],
)
def test_a_clip_beyond_a_limit_is_refused_with_the_figure_and_the_limit(
    limit: dict[str, float], make: Callable[[Path], Path], cause: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ClipRejected, match=sentence) as refused:
        inspect(make(tmp_path), dataclasses.replace(LIMITS, **limit))
    assert refused.value.cause == cause


def test_limits_hold_while_decoding_too(tmp_path: Path) -> None:
    path = media.clip(tmp_path)
    with (
        pytest.raises(ClipRejected, match=r"lasts 0\.5 s; at most 0\.5 s"),
        frames(path, dataclasses.replace(LIMITS, max_seconds=0.5)) as source,
    ):
        list(source)
    with (
        pytest.raises(ClipRejected, match="76800 pixels; at most 1000"),
        frames(path, dataclasses.replace(LIMITS, max_pixels=1000)) as source,
    ):
        list(source)


def test_a_decoder_that_dies_costs_only_its_clip(tmp_path: Path) -> None:
    with frames(media.clip(tmp_path, frames=600), LIMITS) as source:
        next(source)
        decoder_process().kill()
        with pytest.raises(ClipRejected, match=r"died on this file \(signal SIGKILL\)") as refused:
            list(source)
    assert refused.value.cause == "decoder-died"


@pytest.mark.slow
def test_a_decoder_that_hangs_in_the_middle_of_a_frame_is_stopped(tmp_path: Path) -> None:
    # A large frame does not fit into the socket's buffer, so part of the next one has arrived when the child stops.
    clip = media.clip(tmp_path, frames=30, size=(1280, 720))
    with frames(clip, dataclasses.replace(LIMITS, stall_s=1.0), inspect(clip, LIMITS)) as source:
        next(source)
        process = decoder_process()
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ClipRejected, match="sent nothing for 1 s") as refused:
            list(source)
    assert refused.value.cause == "decoder-stalled"
    assert not process.is_running()


@pytest.mark.slow
def test_a_file_that_needs_more_memory_than_allowed_is_refused(tmp_path: Path) -> None:
    greedy = media.hostile_size(tmp_path, 16_000, 16_000)
    limits = dataclasses.replace(LIMITS, max_pixels=16_000 * 16_000, memory_bytes=1024**3)
    with pytest.raises(ClipRejected) as refused:
        inspect(greedy, limits)
    assert refused.value.cause in {"undecodable", "decoder-died"}


def test_the_decoder_sees_no_secrets_and_cannot_write_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAFLOW_DATABASE_URL", "postgresql://operator:secret@localhost/daflow")
    with frames(media.clip(tmp_path, frames=600), LIMITS) as source:
        assert np.any(next(source).image)
        process = decoder_process()
        assert not any(key.startswith("DAFLOW_") for key in process.environ())
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert process.rlimit(psutil.RLIMIT_AS) == (LIMITS.memory_bytes, LIMITS.memory_bytes)


def test_the_decoder_runs_no_code_of_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = media.clip(tmp_path)
    for name in ("cv2.py", "service/__init__.py", "json.py"):
        module = tmp_path / name
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert inspect(clip, LIMITS).frames == 30
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "message", [b"not json", b"[]", b'{"kind": "surprise"}', b'{"kind": "frame", "height": "tall"}', b"\xff"]
)
def test_a_decoder_that_talks_nonsense_costs_only_its_clip(
    message: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that a hostile file has taken over may say anything."""
    monkeypatch.setattr(Connection, "recv_bytes", lambda self, maxlength=None: message)
    with pytest.raises(ClipRejected, match="the video decoder failed") as refused:
        inspect(media.clip(tmp_path), LIMITS)
    assert refused.value.cause == "decoder-died"


def test_a_hanging_decoder_dies_with_its_parent(tmp_path: Path) -> None:
    clip = media.clip(tmp_path, frames=30, size=(1280, 720))
    script = (
        "import sys, os, signal; from pathlib import Path; import psutil\n"
        "from service.clips.decoding import ClipLimits, frames\n"
        "with frames(Path(sys.argv[1]), ClipLimits(60, 10**7, 240, 60, 2**32)) as source:\n"
        "    next(source); (child,) = psutil.Process().children(); child.suspend()\n"
        "    print(child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(clip)], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    orphan = int(done.stdout)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(orphan).wait(timeout=30)
    assert not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE
