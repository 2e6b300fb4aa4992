"""Why a body is refused."""

from __future__ import annotations


class UploadRefused(Exception):
    """The body is refused.

    Attributes:
        cause: A stable slug.
    """

    cause = "refused"


class ClipTooLarge(UploadRefused):
    """The clip has more bytes than allowed."""

    cause = "clip-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the clip is larger than the {limit} bytes that are accepted")
        self.limit = limit


class BodyTooLarge(UploadRefused):
    """A document has more bytes than allowed."""

    cause = "body-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than the {limit} bytes that are accepted")
        self.limit = limit


class MalformedUpload(UploadRefused):
    """The body is not the multipart form that its headers announce."""

    cause = "malformed-upload"


class UploadStalled(UploadRefused):
    """The client stopped sending, or sent too slowly."""

    cause = "upload-stalled"


class UploadIncomplete(UploadRefused):
    """The client disconnected before the body was complete."""

    cause = "upload-incomplete"

    def __init__(self) -> None:
        super().__init__("the connection ended before the upload was complete")
