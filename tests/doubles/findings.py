"""Findings of named behaviours for tests."""

from __future__ import annotations

from model.behaviours import Finding, Kind

SAW = "hips fell 0.6 body heights in 0.7 s"


def finding(
    kind: Kind = Kind.FALL,
    score: float = 1.0,
    since: float = 0.0,
    *,
    tracks: tuple[int, ...] = (1,),
    saw: str = SAW,
    joints: tuple[int, ...] = (11, 12),
) -> Finding:
    return Finding(kind, tracks, score, since, saw, {"fell_h": 0.6, "fall_s": 0.7}, joints)
