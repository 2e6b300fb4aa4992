from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from service.errors import StartupError
from service.storage.evidence import EVIDENCE_KINDS, EvidenceKind, EvidenceStore
from service.storage.folder import DataFolder
from service.storage.writing import atomic_write, replacing


def test_a_second_process_on_the_same_folder_is_told_so(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    with pytest.raises(StartupError, match="in use by another daflow process"):
        DataFolder.open(tmp_path)
    folder.close()
    DataFolder.open(tmp_path).close()


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="DAFLOW_DATA_DIR"):
        DataFolder.open(tmp_path / "file" / "data")


def test_an_upload_becomes_a_clip_and_is_discarded_without_a_trace(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    folder.upload("a").write_bytes(b"clip")
    folder.adopt("a")
    assert folder.source("a").read_bytes() == b"clip"
    assert folder.size("a") == 4
    folder.discard("a")
    folder.discard("a")
    assert not any(folder.clips.iterdir())
    assert not any(folder.uploads.iterdir())
    folder.close()


def test_orphans_go_and_known_clips_stay(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    folder.upload("partial").write_bytes(b"half a clip")
    for name in ("known", "orphan"):
        folder.clip(name).mkdir()
        folder.source(name).write_bytes(b"clip")
    (folder.clip("known") / "annotated.mp4.1.part").write_bytes(b"half a video")
    assert sorted(folder.remove_orphans({"known"})) == ["annotated.mp4.1.part", "orphan", "partial"]
    assert [path.name for path in folder.clips.iterdir()] == ["known"]
    assert folder.source("known").exists()
    folder.close()


def test_a_clip_without_a_row_is_abandoned_after_a_while(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    for name in ("known", "new", "abandoned"):
        folder.clip(name).mkdir()
        folder.source(name).write_bytes(b"clip")
    for name in ("known", "abandoned"):
        os.utime(folder.clip(name), (0, 0))
    assert folder.remove_abandoned({"known"}, older_than_s=3600) == ["abandoned"]
    assert sorted(path.name for path in folder.clips.iterdir()) == ["known", "new"]
    folder.close()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(target) as stream:
        stream.write(b"half of the new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with atomic_write(target) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new"


def test_files_that_vanish_while_they_are_measured_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DataFolder.open(tmp_path)
    folder.clip("a").mkdir()
    for name in ("source", "before", "after"):
        (folder.clip("a") / name).write_bytes(b"clip")
    look = Path.stat

    def vanishing(path: Path, **options: bool) -> os.stat_result:
        if path.name == "before":
            path.unlink(missing_ok=True)
        found = look(path, **options)
        if path.name == "after":
            path.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", vanishing)
        assert folder.size("a") == 8
    assert folder.size("a") == 4
    assert folder.size("deleted") == 0
    folder.close()


def test_what_is_replaced_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(target) as part:
        part.write_bytes(b"half of the new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_bytes() == b"old"
    with replacing(target) as part:
        part.write_bytes(b"new")
        assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert target.read_bytes() == b"new"


def test_evidence_has_a_folder_for_each_incident_and_goes_without_a_trace(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path)
    store = folder.evidence
    assert store.root == tmp_path / "incidents"
    assert not store.has("a", "clip")
    store.make_room("a")
    store.make_room("a")
    for kind, background in itertools.product(("snapshot", "clip"), (True, False)):
        store.file("a", kind, background=background).write_bytes(b"1234")
    assert store.has("a", "clip")
    assert store.ids() == {"a"}
    assert store.size("a") == 16
    store.discard_kind("a", "clip")
    store.discard_kind("a", "clip")
    assert sorted(path.name for path in (store.root / "a").iterdir()) == ["snapshot-skeletons.jpg", "snapshot.jpg"]
    store.discard("a")
    store.discard("a")
    assert store.ids() == set()
    assert store.size("a") == 0
    assert store.written_at("a").year == 1970
    folder.close()


def test_evidence_of_unknown_incidents_and_half_written_evidence_are_orphans(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    for incident in ("known", "unknown"):
        store.make_room(incident)
        for background in (True, False):
            store.file(incident, "snapshot", background=background).write_bytes(b"picture")
    (store.root / "known" / "clip.mp4.1.part").write_bytes(b"half a video")
    (store.root / "stray").write_bytes(b"")
    assert sorted(store.remove_orphans({"known"})) == ["clip.mp4.1.part", "stray", "unknown"]
    assert sorted(path.name for path in (tmp_path / "known").iterdir()) == ["snapshot-skeletons.jpg", "snapshot.jpg"]


@pytest.mark.parametrize("kind", EVIDENCE_KINDS)
def test_evidence_of_which_only_one_version_was_written_is_an_orphan(tmp_path: Path, kind: EvidenceKind) -> None:
    store = EvidenceStore(tmp_path)
    store.make_room("known")
    (other,) = set(EVIDENCE_KINDS) - {kind}
    for background in (True, False):
        store.file("known", other, background=background).write_bytes(b"whole")
    alone = store.file("known", kind)
    alone.write_bytes(b"the version with skeletons is written last")
    assert store.remove_orphans({"known"}) == [f"known/{alone.name}"]
    assert not alone.exists()
    assert store.has("known", other)
    assert store.remove_orphans({"known"}) == []
