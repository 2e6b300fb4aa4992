"""A corpus of broken and hostile files, made from real clips, the same every time."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

_BOXES = (b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"mdia", b"stbl", b"stsd", b"stsz", b"stco", b"stts", b"mdat")
_SIZES = (0, 1, 7, 8, 0x7FFFFFFF, 0xFFFFFFFF)


def broken(clips: Sequence[Path], folder: Path, *, seed: int = 0) -> Iterator[Path]:
    """Damaged copies of clips: cut short, bits flipped in header and payload, boxes of wrong sizes, pieces swapped."""
    rng = np.random.default_rng(seed)
    for number, clip in enumerate(clips):
        content = clip.read_bytes()
        for share in (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999):
            yield _write(folder, f"cut-{number}-{share}.mp4", content[: int(share * len(content))])
        header = content.find(b"moov")
        for count in (1, 8, 64, 512):
            yield _write(folder, f"header-{number}-{count}.mp4", _flipped(content, rng, header, header + 4096, count))
            yield _write(folder, f"payload-{number}-{count}.mp4", _flipped(content, rng, 0, len(content), count))
        for box in _BOXES:
            at = content.find(box)
            if at >= 4:
                size = struct.pack(">I", _SIZES[int(rng.integers(len(_SIZES)))])
                yield _write(folder, f"size-{number}-{box.decode()}.mp4", content[: at - 4] + size + content[at:])
        half = len(content) // 2
        yield _write(folder, f"swapped-{number}.mp4", content[half:] + content[:half])
        yield _write(folder, f"twice-{number}.mp4", content + content)
        yield _write(folder, f"zeros-{number}.mp4", content[:64] + bytes(len(content) - 64))
        yield _write(folder, f"noise-{number}.mp4", content[:64] + rng.bytes(len(content) - 64))


def pointing(clip: Path, folder: Path, target: Path, port: int) -> Iterator[Path]:
    """Files that ask whoever opens them to open something else: a local file, or an address inside.

    Args:
        clip: A sound clip, to hide references in.
        folder: Where to write.
        target: A video that must not be opened.
        port: Of a listener on loopback that nobody must connect to.
    """
    inside = f"http://127.0.0.1:{port}/secret.ts"
    goals = (
        str(target),
        f"file://{target}",
        f"file:{target}",
        f"concat:{target}|{target}",
        f"subfile,,:{target}",
        inside,
    )
    goals += (
        f"tcp://127.0.0.1:{port}",
        f"rtsp://127.0.0.1:{port}/a",
        f"udp://127.0.0.1:{port}",
        f"ftp://127.0.0.1:{port}/a",
    )
    for number, goal in enumerate(goals):
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{goal}\n#EXT-X-ENDLIST\n"
        key = f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{goal}"\n#EXTINF:10.0,\n{goal}\n#EXT-X-ENDLIST\n'
        for name, text in (
            ("list.m3u8", playlist),
            ("list.mp4", playlist),
            ("key.m3u8", key),
            ("list.ffconcat", f"ffconcat version 1.0\nfile '{goal}'\n"),
            ("list.avi", f"ffconcat version 1.0\nfile {goal}\n"),
            (
                "session.sdp",
                f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n"
                f"a=rtpmap:96 H264/90000\na=control:{goal}\n",
            ),
            ("page.html", f'<meta http-equiv="refresh" content="0;url={goal}"><video src="{goal}">'),
            ("picture.svg", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{goal}"/></svg>'),
            (
                "list.mpd",
                '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
                f'<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{goal}</BaseURL>'
                "</Representation></AdaptationSet></Period>"
                "</MPD>",
            ),
        ):
            yield _write(folder, f"points-{number}-{name}", text.encode())
        yield _write(folder, f"points-{number}-dref.mp4", _with_reference(clip.read_bytes(), goal))
    archive = folder / "archive.mp4"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.mp4", bytes(10_000_000))
    yield archive


def _with_reference(content: bytes, goal: str) -> bytes:
    """The clip with a data reference that says that its samples lie elsewhere."""
    at = content.find(b"url ")
    if at < 4:
        return content
    address = goal.encode() + b"\0"
    box = struct.pack(">I", 12 + len(address)) + b"url " + bytes(4) + address
    return content[: at - 4] + box + content[at + 8 :]


def _flipped(content: bytes, rng: np.random.Generator, first: int, last: int, count: int) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(max(first, 0), min(last, len(changed)), count)
    changed[places] ^= (1 << rng.integers(0, 8, count)).astype(np.uint8)
    return changed.tobytes()


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
