"""An RTSP server that loops clips as cameras, by GStreamer; run by the system's Python, which has its bindings.

Arguments: the port, then ``name=path[@codec]`` for each mount, ``--user name:password``, ``--udp`` to refuse TCP, and
``--address`` to be reached from other machines. The clip at `path`, MP4 with H.264, is played over and over, as it is
or coded anew. Prints ``ready`` once it listens. It is the sample camera of the containers and of the tests.
"""

import argparse
import itertools

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

DECODE = "avdec_h264 ! videoconvert ! video/x-raw,format=I420"
PAYLOADERS = {
    "": "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96",
    "h265": f"{DECODE} ! x265enc speed-preset=ultrafast tune=zerolatency key-int-max=10"
    " ! h265parse ! rtph265pay name=pay0 config-interval=-1",
    "jpeg": f"{DECODE} ! jpegenc ! rtpjpegpay name=pay0 pt=26",
}
CODED = "video/x-h264,stream-format=byte-stream,alignment=au"


def coded_pictures(path):
    """The pictures of a clip as they are coded, and its duration in nanoseconds."""
    reader = f'filesrc location="{path}" ! qtdemux ! h264parse'
    pipeline = Gst.parse_launch(f"{reader} ! {CODED} ! appsink name=out sync=false")
    pipeline.set_state(Gst.State.PLAYING)
    sink = pipeline.get_by_name("out")
    pictures = []
    while (sample := sink.emit("pull-sample")) is not None:
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        pictures.append((data, buffer.pts, buffer.dts, buffer.duration))
        caps = sample.get_caps()
    pipeline.set_state(Gst.State.NULL)
    return pictures, max(pts + duration for _, pts, _, duration in pictures), caps


class LoopedClip(GstRtspServer.RTSPMediaFactory):
    """Plays a clip, and begins again when it ends, without a seam in its times.

    Args:
        path: The clip.
        codec: What it is coded to: one of `PAYLOADERS`.
    """

    def __init__(self, path, codec):
        super().__init__()
        self.pictures, self.duration, self.caps = coded_pictures(path)
        self.set_launch(f"( appsrc name=clip format=time max-bytes=1000000 ! {PAYLOADERS[codec]} )")
        self.set_shared(True)
        self.connect("media-configure", self.configure)

    def configure(self, _factory, media):
        """Begin to play to the first viewer."""
        source = media.get_element().get_by_name("clip")
        source.set_property("caps", self.caps)
        rounds = itertools.count()
        shifted = ((picture, number * self.duration) for number in rounds for picture in self.pictures)
        source.connect("need-data", self.feed, shifted)

    def feed(self, source, _wanted, shifted):
        """Hand over one picture, later by the rounds that were played."""
        (data, pts, dts, duration), shift = next(shifted)
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.dts, buffer.duration = pts + shift, dts + shift, duration
        source.emit("push-buffer", buffer)


def main():
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("mounts", nargs="+")
    parser.add_argument("--user")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("--address", default="127.0.0.1")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(arguments.address)
    server.set_service(arguments.port)
    if arguments.user:
        name, password = arguments.user.split(":")
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(name, password, token)
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        server.set_auth(auth)
    for mount in arguments.mounts:
        name, _, rest = mount.partition("=")
        path, _, codec = rest.partition("@")
        factory = LoopedClip(path, codec)
        if arguments.udp:
            factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
        if arguments.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{name}", factory)
    if not server.attach(None):
        raise SystemExit(f"port {arguments.port} is taken")
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
