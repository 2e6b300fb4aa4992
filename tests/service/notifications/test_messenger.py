"""Messages go through Apprise to a real server on loopback."""

from __future__ import annotations

import base64
from datetime import UTC, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from model.behaviours import Kind
from pose.sight import CannotSee
from service.documents.base import Severity
from service.documents.messages import IncidentInfo
from service.documents.reviews import ReviewChange, Verdict
from service.incidents.history import History
from service.incidents.reviews import Seen
from service.incidents.store import IncidentStore
from service.metrics import Metrics
from service.notifications.channels import Channel
from service.notifications.messenger import TOO_OLD, Message, Messenger, NotSent, compose, send
from service.notifications.store import NotificationStore
from service.storage.database import Database
from tests.doubles.live_records import ACKNOWLEDGED, FALSE, at, camera_status, incident_info
from tests.doubles.receiver import Receiver, receiver
from tests.doubles.servers import eventually, free_port

SINK = "channel-desk"
SITE = ZoneInfo("Europe/Berlin")


class Scene:
    """A store of incidents, cameras, and a clock that is moved by hand."""

    def __init__(self, database: Database) -> None:
        self.now = at(0)
        self.incidents = IncidentStore(database, lambda: self.now)
        self.store = NotificationStore(database)
        self.history = History(database)
        self.metrics = Metrics()
        self.cameras = [camera_status("door"), camera_status("ward", title=None)]
        self.pictures: dict[bool, Path] = {}
        self.store.keep([SINK])

    def messenger(self, web: Receiver, **options: object) -> Messenger:
        channel = Channel.model_validate({"url": f"json://127.0.0.1:{web.port}/", "pause_s": 0} | options)
        return Messenger(
            SINK,
            channel,
            self.store,
            self.incidents,
            self.history,
            lambda: self.cameras,
            lambda incident, background: self.pictures.get(background),
            SITE,
            self.metrics,
            clock=lambda: self.now,
        )

    def starts(self, name: str, camera: str = "door", severity: Severity = Severity.ALERT) -> IncidentInfo:
        incident = incident_info(name, camera, severity=severity)
        self.incidents.started(incident)
        return incident

    def later(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


def told(web: Receiver) -> list[str]:
    return [one.message["title"] for one in web.posted]


def test_a_message_says_what_happened_where_and_when(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web)
        scene.starts("one")
        assert messenger.tell()
        assert not messenger.tell(), "nothing is left"
    (posted,) = web.posted
    assert posted.message["title"] == "Unusual movement, 1 person (Front door)"
    assert posted.message["message"] == (
        "Level 0.950 (1 in 20 moments of normal life).\nCamera: Front door\nStarted: 2026-01-31 13:00:00\nIncident: one"
    )
    assert posted.message["attachments"] == []
    assert "github" not in posted.body.decode().lower(), "no picture comes from elsewhere"


def test_what_was_told_is_not_told_again_after_a_restart(scene: Scene) -> None:
    with receiver() as web:
        scene.starts("one")
        assert scene.messenger(web).tell()
        scene.starts("two")
        assert scene.messenger(web).tell()
    assert [one.message["message"].splitlines()[-1] for one in web.posted] == ["Incident: one", "Incident: two"]


def test_a_warning_is_told_to_who_wants_alerts_once_it_has_become_one(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web)
        incident = scene.starts("one", severity=Severity.WARNING)
        assert messenger.tell()
        assert web.posted == []
        worse = incident.model_copy(update={"severity": Severity.ALERT})
        for _ in range(2):
            scene.incidents.updated(worse)
            assert messenger.tell()
    assert len(web.posted) == 1


def test_other_cameras_are_not_told_of(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web, cameras=["ward"])
        scene.starts("one", "door")
        scene.starts("two", "ward")
        assert messenger.tell()
    assert told(web) == ["Unusual movement, 1 person (ward)"]


def test_what_is_only_recorded_is_told_to_nobody(scene: Scene) -> None:
    with receiver() as web:
        scene.starts("one", severity=Severity.RECORD)
        assert scene.messenger(web, severity="warning").tell()
    assert web.posted == []


@pytest.mark.parametrize("done", [ACKNOWLEDGED, FALSE, ReviewChange(verdict=Verdict.DRILL), None])
def test_an_escalation_waits_and_comes_only_if_nobody_has_dealt_with_the_incident(
    done: ReviewChange | None, scene: Scene
) -> None:
    with receiver() as web:
        messenger = scene.messenger(web, after_minutes=5)
        scene.starts("one")
        scene.later(minutes=4)
        assert not messenger.tell(), "it is too early"
        if done is not None:
            scene.incidents.reviews.change(Seen("one"), done)
        scene.later(minutes=2)
        assert scene.messenger(web, after_minutes=5).tell(), "it does not depend on who waited"
        scene.later(minutes=60)
        messenger.tell()
    assert len(web.posted) == (1 if done is None else 0)


def test_what_was_refused_is_told_with_what_came_meanwhile(scene: Scene) -> None:
    with receiver(500) as web:
        messenger = scene.messenger(web)
        scene.starts("one")
        assert not messenger.tell()
        assert messenger.problem is not None
        assert "500" in messenger.problem
        assert "127.0.0.1" not in messenger.problem
        scene.starts("two", "ward")
        assert messenger.tell()
        assert messenger.problem is None
    first, second = told(web)
    assert first == "Unusual movement, 1 person (Front door)"
    assert second == "2 incidents on 2 cameras since 13:00: unusual movement 2"
    value = scene.metrics.registry.get_sample_value
    assert value("daflow_notifications_total", {"sink": SINK, "outcome": "failed"}) == 1
    assert value("daflow_notifications_total", {"sink": SINK, "outcome": "delivered"}) == 1


def test_a_service_may_be_away_for_days(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, message: Message) -> None:
        raise NotSent("it is away")

    with receiver() as web:
        messenger = scene.messenger(web)
        scene.starts("one")
        with monkeypatch.context() as away:
            away.setattr("service.notifications.messenger.send", refuse)
            # One attempt every five minutes.
            assert not any(messenger.tell() for _ in range(1100))
        assert messenger.problem == "it is away"
        assert messenger.tell()
    assert told(web) == ["Unusual movement, 1 person (Front door)"]


def test_a_flood_is_one_message(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web)
        for number in range(300):
            scene.starts(f"n{number:03}", "door" if number % 2 else "ward")
        assert messenger.tell()
        assert not messenger.tell()
    (posted,) = web.posted
    assert posted.message["title"] == "300 incidents on 2 cameras since 13:00: unusual movement 300"
    lines = posted.message["message"].splitlines()
    assert lines[0] == "13:00 ward: Unusual movement, 1 person"
    assert (len(lines), lines[-1]) == (11, "and 290 more")


def test_between_two_messages_there_is_a_pause(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web, pause_s=3600)
        messenger.start()
        try:
            scene.starts("one")
            messenger.wake()
            eventually(lambda: web.posted, "the first is told at once")
            eventually(lambda: scene.store.position(SINK) == scene.incidents.newest_event_id(), "it is noted")
            scene.starts("two")
            messenger.wake()
        finally:
            messenger.stop()
        assert len(web.posted) == 1
        # The service starts again.
        assert scene.messenger(web).tell()
    assert len(web.posted) == 2


def test_what_is_too_old_is_left_out(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web)
        scene.starts("old")
        scene.now += TOO_OLD + timedelta(minutes=1)
        scene.starts("new", "ward")
        assert messenger.tell()
    assert told(web) == ["Unusual movement, 1 person (ward)"]


@pytest.mark.parametrize(
    ("wanted", "there", "attached"),
    [
        ("none", (True, False), None),
        ("skeletons", (True, False), b"skeletons"),
        ("picture", (True, False), b"picture"),
        ("picture", (False,), b"skeletons"),
        ("picture", (), None),
    ],
)
def test_a_message_shows_no_more_than_the_channel_says(
    wanted: str, there: tuple[bool, ...], attached: bytes | None, scene: Scene, tmp_path: Path
) -> None:
    for background in there:
        path = scene.pictures[background] = tmp_path / f"{background}.jpg"
        path.write_bytes(b"picture" if background else b"skeletons")
    with receiver() as web:
        scene.starts("one")
        assert scene.messenger(web, picture=wanted).tell()
    files = [base64.b64decode(one["base64"]) for one in web.posted[0].message["attachments"]]
    assert files == ([] if attached is None else [attached])


def test_a_camera_that_cannot_see_is_told_of_while_it_cannot(scene: Scene) -> None:
    with receiver() as web:
        messenger = scene.messenger(web)
        scene.incidents.camera_sight("door", CannotSee.TOO_DARK, None, "it is dark")
        scene.cameras[0] = camera_status("door", cannot_see=CannotSee.TOO_DARK)
        assert messenger.tell()
        scene.incidents.camera_sight("door", None, CannotSee.TOO_DARK, None)
        scene.cameras[0] = camera_status("door")
        assert messenger.tell()
    assert told(web) == ["Front door cannot see people: too dark"]
    with receiver() as web:
        scene.incidents.camera_sight("door", CannotSee.TOO_DARK, None, "it is dark")
        scene.cameras[0] = camera_status("door", cannot_see=CannotSee.TOO_DARK)
        assert scene.messenger(web, blindness=False).tell()
    assert web.posted == []


def test_kinds_are_counted_the_most_severe_first() -> None:
    incidents = [incident_info(str(kind), kind=kind) for kind in (Kind.RUNNING, Kind.FALL, Kind.RUNNING)]
    message = compose(incidents, {"ward": "covered"}, {"ward": "Ward 3"}, UTC, lambda _: None)
    assert message is not None
    assert message.title == "3 incidents on 1 camera since 12:00: fall 1, running 2"
    assert message.body.splitlines()[-1] == "Ward 3 cannot see people: covered."


def test_nothing_is_no_message() -> None:
    assert compose([], {}, {}, UTC, lambda _: None) is None


def test_a_server_that_is_not_there_and_one_that_sends_elsewhere_are_failures() -> None:
    with pytest.raises(NotSent, match="onnect") as refused:
        send(f"json://user:hunter2@127.0.0.1:{free_port()}/", Message("title", "body"))
    assert "hunter2" not in str(refused.value)
    with receiver(404, 301) as web:
        for _ in range(2):
            with pytest.raises(NotSent):
                send(f"json://127.0.0.1:{web.port}/", Message("title", "body"))
    assert len(web.posted) == 2, "no redirect is followed"
