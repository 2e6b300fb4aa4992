"""How scores of windows become scores of frames.

A window covers many frames, and a frame lies in many windows. One rule, used by training, evaluation and clips, says
which window counts for a frame.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

_TOLERANCE: Final = 1e-6
"""Grid steps by which two times may differ and still count as the same."""


def frame_scores_of_track(
    frame_times: Floats, window_end_times: Floats, window_scores: Floats, spec: WindowSpec
) -> Floats:
    """The score of one person in every frame: that of the window with the nearest centre among those around the frame.

    Args:
        frame_times: Shape ``(F,)``, seconds, in any order.
        window_end_times: Shape ``(N,)``, seconds of the last grid point of each window, in any order.
        window_scores: Shape ``(N,)``.
        spec: What a window is.

    Returns:
        Shape ``(F,)``; nan for frames in no window. Of two centres equally near the earlier counts.
    """
    scores = np.full(len(frame_times), np.nan)
    if not len(window_end_times):
        return scores
    order = np.argsort(window_end_times, kind="stable")
    ends, values = window_end_times[order], window_scores[order]
    centres = spec.center_times(ends)
    tolerance = _TOLERANCE / spec.rate_hz
    # A window is not symmetric about its centre, so the nearest centre on either side is looked at.
    after = np.searchsorted(centres, frame_times - tolerance)
    chosen = np.full(len(frame_times), -1)
    distance = np.full(len(frame_times), np.inf)
    for side in (np.maximum(after - 1, 0), np.minimum(after, len(ends) - 1)):
        inside = (frame_times <= ends[side] + tolerance) & (frame_times >= ends[side] - spec.duration_s - tolerance)
        nearer = inside & (np.abs(frame_times - centres[side]) < distance - tolerance)
        chosen[nearer] = side[nearer]
        distance[nearer] = np.abs(frame_times - centres[side])[nearer]
    found = chosen >= 0
    scores[found] = values[chosen[found]]
    return scores


def highest_over_people(frame_times: Floats, windows: Windows, scores: Floats, spec: WindowSpec) -> Floats:
    """The score of every frame: the highest of `frame_scores_of_track` over the tracks of the windows.

    Args:
        frame_times: Shape ``(F,)``, seconds.
        windows: The windows of one camera.
        scores: Shape ``(N,)``, one for each window.
        spec: What a window is.

    Returns:
        Shape ``(F,)``; nan where nobody is scored.
    """
    highest = np.full(len(frame_times), np.nan)
    for track in np.unique(windows.track_ids):
        own = windows.track_ids == track
        highest = np.fmax(highest, frame_scores_of_track(frame_times, windows.end_times[own], scores[own], spec))
    return highest
