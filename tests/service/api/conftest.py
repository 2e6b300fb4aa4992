from __future__ import annotations

import pytest

from tests.doubles.models import blind_models
from tests.doubles.servers import LiveServer, Serve, eventually


@pytest.fixture
def serve_live(serve: Serve) -> Serve:
    """Starts servers with the shipped flow and no pose estimator."""

    def start(**settings: object) -> LiveServer:
        live = serve(blind_models, None, **settings)
        eventually(lambda: live.runtime.models.loaded is not None, "the models are loaded")
        return live

    return start


@pytest.fixture
def live(serve_live: Serve) -> LiveServer:
    return serve_live()
