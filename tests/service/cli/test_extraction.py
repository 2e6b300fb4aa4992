"""Poses out of videos with real weights, and the files that hold them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import pytest

from model.dataset import SUFFIX, read_clip
from model.layouts import META_SUFFIX, read_dataset
from service.cli.extraction import ExtractionError, PoseExtractor, check_sources
from service.clips.decoding import ClipRejected, frames
from service.clips.scorer import clip_limits
from service.scoring.loading import load_estimator
from service.settings import Settings
from tests.doubles import media


@pytest.fixture(scope="module")
def settings(pose_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("data")
    return Settings(data_dir=folder, pose_weights=str(pose_weights), device="cpu", pose_precision="auto")


@pytest.fixture(scope="module")
def extractor(settings: Settings) -> PoseExtractor:
    return PoseExtractor.load(settings, picture_rate_hz=20.0)


@pytest.fixture
def short(test_data: Path) -> Path:
    return test_data / "clips" / "surveillance-fight" / "noFight" / "nofi089.mp4"


@pytest.fixture(scope="module")
def shortest(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of people."""
    source = test_data / "clips" / "surveillance-fight" / "noFight" / "nofi075.mp4"
    return media.reencode(source, tmp_path_factory.mktemp("clips") / "nofi075.mp4", frames=9)


@pytest.mark.slow
def test_a_clip_becomes_a_file_that_the_readers_read(extractor: PoseExtractor, short: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    done = extractor.extract(short, tmp_path / "out", on_progress=lambda *frames: seen.append(frames))
    assert seen[-1] == (36, 36)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"nofi089{SUFFIX}", f"nofi089{META_SUFFIX}"}
    document = json.loads(done.poses.read_bytes())
    assert all(len(frame) == 4 and frame.isdigit() for poses in document.values() for frame in poses)
    assert all(0 < pose["scores"] <= 1 for poses in document.values() for pose in poses.values())
    clip = read_clip(done.poses)
    assert len(clip.tracks) == done.record.people > 0
    assert all(track.frames.max() < 36 for track in clip.tracks)
    assert (done.record.source, done.record.fps, done.record.frames) == ("nofi089.mp4", 18.0, 36)
    assert asdict(done.record) == json.loads((tmp_path / "out" / f"nofi089{META_SUFFIX}").read_bytes())
    data = read_dataset("json", tmp_path / "out", splits=("train",))
    assert (len(data.train), data.frame_rate_hz) == (1, 18.0)


@pytest.mark.slow
def test_what_is_there_is_kept_until_something_changes(
    extractor: PoseExtractor, shortest: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copyfile(shortest, clip)
    first = extractor.extract(clip, tmp_path)
    assert first.record.people > 0
    content = first.poses.read_bytes()
    kept = extractor.extract(clip, tmp_path)
    assert (kept.kept, kept.record) == (True, first.record)
    assert not extractor.extract(clip, tmp_path, force=True).kept
    assert first.poses.read_bytes() == content

    first.poses.write_bytes(content[:-10])
    assert not extractor.extract(clip, tmp_path).kept
    assert first.poses.read_bytes() == content

    meta = tmp_path / f"clip{META_SUFFIX}"
    meta.write_text(json.dumps(asdict(replace(first.record, pose_weights_sha256="0" * 64))))
    assert not extractor.extract(clip, tmp_path).kept

    media.clip(tmp_path, "black.mp4", frames=3, paint=media.black).rename(clip)
    changed = extractor.extract(clip, tmp_path)
    assert not changed.kept
    assert changed.record.people == 0
    assert json.loads(changed.poses.read_bytes()) == {}


def test_poses_of_others_are_not_replaced_unasked(extractor: PoseExtractor, shortest: Path, tmp_path: Path) -> None:
    foreign = tmp_path / f"nofi075{SUFFIX}"
    foreign.write_text("{}")
    with pytest.raises(ExtractionError, match="exists and was not made by daflow extract; --force replaces it"):
        extractor.extract(shortest, tmp_path)
    assert foreign.read_text() == "{}"
    assert extractor.extract(shortest, tmp_path, force=True).record.people > 0


def test_pictures_of_a_clip_give_what_the_clip_gives(
    extractor: PoseExtractor, settings: Settings, shortest: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "nofi075"
    folder.mkdir()
    with frames(shortest, clip_limits(settings)) as stream:
        for frame in stream:
            cv2.imwrite(str(folder / f"{frame.sequence + 1}.tif"), frame.image)
    (folder / ".DS_Store").write_bytes(b"")
    pictures = extractor.extract(folder, tmp_path / "pictures")
    video = extractor.extract(shortest, tmp_path / "video")
    assert pictures.poses.read_bytes() == video.poses.read_bytes()
    assert (pictures.record.fps, pictures.record.frames, pictures.record.source) == (20.0, 9, "nofi075")
    without = PoseExtractor(load_estimator(settings), clip_limits(settings))
    assert without.extract(folder, tmp_path / "pictures").kept
    with pytest.raises(ExtractionError, match="a folder of pictures has no frame rate; --frame-rate gives it"):
        without.extract(folder, tmp_path / "elsewhere")


def test_a_source_that_cannot_be_used_leaves_no_file(extractor: PoseExtractor, tmp_path: Path) -> None:
    with pytest.raises(ClipRejected, match="not a video"):
        extractor.extract(media.text_named_mp4(tmp_path), tmp_path / "out")
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    empty.mkdir()
    broken.mkdir()
    (broken / "001.png").write_bytes(b"rubbish")
    with pytest.raises(ClipRejected, match="the folder holds no pictures"):
        extractor.extract(empty, tmp_path / "out")
    with pytest.raises(ClipRejected, match=r"the picture 001\.png cannot be read"):
        extractor.extract(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sources_that_would_write_the_same_file_or_are_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/yard.mp4", "yard.avi", "gate.mp4"):
        (tmp_path / name).write_bytes(b"")
    check_sources([tmp_path / "gate.mp4", tmp_path / "yard.avi"])
    with pytest.raises(ExtractionError, match=r"yard\.mp4 and .*yard\.avi would both become yard_alphapose"):
        check_sources([tmp_path / "a" / "yard.mp4", tmp_path / "gate.mp4", tmp_path / "yard.avi"])
    with pytest.raises(ExtractionError, match="there is no file or folder nowhere"):
        check_sources([Path("nowhere")])
