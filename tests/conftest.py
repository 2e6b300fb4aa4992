from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from pose.estimator import configure_ultralytics

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def contained_ultralytics(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ultralytics reads its variables at its first import, so this comes before any test."""
    configure_ultralytics(tmp_path_factory.mktemp("ultralytics"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backends",
        choices=("embedded", "servers"),
        default="embedded",
        help="what stands behind the service: SQLite and this process, or PostgreSQL and Redis; with servers, only the "
        "tests run to which that makes a difference",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--backends") == "servers":
        kept = [item for item in items if "backend" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(scope="session")
def pose_weights() -> Path:
    """The pose weights that `DAFLOW_POSE_WEIGHTS` names."""
    return _existing("DAFLOW_POSE_WEIGHTS", "YOLO-pose weights")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with real clips and skeletons that `DAFLOW_TEST_DATA` names."""
    return _existing("DAFLOW_TEST_DATA", "the folder with test clips")


def _existing(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set; it names {what}")
    path = Path(value).resolve()
    if not path.exists():
        pytest.fail(f"{variable} names {path}, which does not exist")
    return path
