from __future__ import annotations

import base64
import hashlib

from service.dashboard.policy import page_policy


def test_only_the_scripts_of_the_page_itself_may_run() -> None:
    policy = page_policy(b'<script type="module">one()</script><script src="two.js"></script><script>three()</script>')
    for script in (b"one()", b"three()"):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" in policy
    assert policy.count("sha256-") == 2
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in scripts and "http" not in policy
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
