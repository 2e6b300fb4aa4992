from __future__ import annotations

import pytest

from service.access.policy import Principal, Refusal, Rule, Scope, Subject, refusal

ALL = {scope: Principal("k", "key", scope, None) for scope in Scope}


YARD = {scope: Principal("k", "key", scope, frozenset({"yard"})) for scope in Scope}


@pytest.mark.parametrize(
    ("principal", "rule", "camera", "expected"),
    [
        (None, Rule(None), None, None),
        (None, Rule(Scope.READ), None, Refusal.NO_KEY),
        (None, Rule(Scope.READ, Subject.CAMERA), "yard", Refusal.NO_KEY),
        (ALL[Scope.READ], Rule(Scope.READ), None, None),
        (ALL[Scope.READ], Rule(Scope.OPERATE), None, Refusal.SCOPE),
        (ALL[Scope.READ], Rule(Scope.ADMIN), None, Refusal.SCOPE),
        (ALL[Scope.OPERATE], Rule(Scope.READ), None, None),
        (ALL[Scope.OPERATE], Rule(Scope.OPERATE, Subject.CAMERA), "gate", None),
        (ALL[Scope.OPERATE], Rule(Scope.ADMIN, Subject.SERVICE), None, Refusal.SCOPE),
        (ALL[Scope.ADMIN], Rule(Scope.ADMIN, Subject.SERVICE), None, None),
        (ALL[Scope.ADMIN], Rule(Scope.READ, Subject.CAMERA), None, None),
        (YARD[Scope.READ], Rule(Scope.READ), None, None),
        (YARD[Scope.READ], Rule(Scope.READ, Subject.CAMERA), "yard", None),
        (YARD[Scope.READ], Rule(Scope.READ, Subject.CAMERA), "gate", Refusal.CAMERA),
        (YARD[Scope.READ], Rule(Scope.READ, Subject.CAMERA), None, Refusal.CAMERA),
        (YARD[Scope.READ], Rule(Scope.OPERATE, Subject.CAMERA), "yard", Refusal.SCOPE),
        (YARD[Scope.ADMIN], Rule(Scope.READ, Subject.SERVICE), None, Refusal.SERVICE),
        (YARD[Scope.ADMIN], Rule(Scope.ADMIN, Subject.CAMERA), "yard", None),
    ],
)
def test_who_may_do_what(principal: Principal | None, rule: Rule, camera: str | None, expected: Refusal | None) -> None:
    assert refusal(principal, rule, camera) is expected
