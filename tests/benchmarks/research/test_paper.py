from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.research.paper import main
from benchmarks.research.tables import TABLES
from tests.model.skeletons import write_test_set, write_training_set, write_ubnormal_test_set

pytestmark = pytest.mark.slow

FEW = ["--jobs", "1", "--epochs", "1", "--seeds", "1", "--untrained-seeds", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of two tables on a small data set."""
    folder = tmp_path_factory.mktemp("paper")
    write_test_set(write_training_set(folder / "shop", clips=8, frames=200))
    assert run(folder, "--only", "main", "cameras") == 0
    return folder


def run(folder: Path, *options: str) -> int:
    return main(
        [
            *("--data", str(folder / "shop"), "--cache", str(folder / "cache")),
            *("--values", str(folder / "results.json"), "--output", str(folder / "docs" / "results.md")),
            *(*FEW, *options),
        ]
    )


def test_tables_and_values_are_written_with_their_provenance(made: Path) -> None:
    text = (made / "docs" / "results.md").read_text()
    values = json.loads((made / "results.json").read_bytes())
    assert set(values["tables"]) == {"main", "cameras"}
    provenance = values["provenance"]
    assert provenance["command"].startswith("python -m benchmarks.research.paper --data shop --epochs 1")
    assert str(made) not in text + json.dumps(values)
    names = [row["name"] for row in values["tables"]["main"]["rows"]]
    assert {"presence", "number of people", "motion energy", "Gaussian", "autoencoder", "STG-NF"} <= set(names)
    assert all(f"| {name} |" in text for name in names)
    presence = next(row for row in values["tables"]["main"]["rows"] if row["name"] == "presence")
    assert presence["cells"]["conditional"]["values"] == [0.5], "everybody is always in view"
    assert "[results.json](../results.json)." in text
    assert "## Main results" in text
    assert "## Attention" not in text
    assert "Not computed" not in text
    assert (made / "docs" / "images" / "results-main.png").read_bytes().startswith(b"\x89PNG")


def test_a_second_run_computes_nothing_and_writes_the_same(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((made / "results.json").read_bytes())
    assert run(made, "--only", "main", "cameras") == 0
    assert "23 tasks, 23 done before, 0 left" in capsys.readouterr().err
    after = json.loads((made / "results.json").read_bytes())
    assert after["tables"] == before["tables"]


def test_tables_are_rendered_anew_from_the_values_alone(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "results.json", tmp_path / "results.json")
    assert run(tmp_path, "--render-only") == 0
    assert (tmp_path / "docs" / "results.md").read_text() == (made / "docs" / "results.md").read_text()


def test_a_data_set_of_another_layout_and_frame_rate_gives_the_same_tables(tmp_path: Path) -> None:
    write_ubnormal_test_set(write_training_set(tmp_path / "shop", clips=8, frames=200))
    assert run(tmp_path, "--layout", "ubnormal-hr", "--only", "attention") == 0
    values = json.loads((tmp_path / "results.json").read_bytes())
    (facts,) = values["data"].values()
    assert (facts["frame_rate_hz"], facts["test_clips"]) == (30.0, 4)
    assert len(values["tables"]["attention"]["rows"]) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "nowhere"], "nowhere"),
        ([], "--data is needed"),
        (["--data", ".", "--jobs", "0"], "--jobs must be at least 1"),
        (["--render-only"], "there are no results to render"),
        (["--data", ".", "--only", "everything"], "invalid choice: 'everything'"),
    ],
)
def test_a_mistake_ends_in_a_line_that_says_what_it_was(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*options, *(f"--{name}={tmp_path / name}" for name in ("cache", "values", "output"))])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_every_table_has_a_name_to_ask_for() -> None:
    assert len(set(TABLES)) == len(TABLES) == 12
