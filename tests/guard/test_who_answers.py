"""Who takes a bench back settles what its guard was trying only where the same one answers."""

from instruments.guarding import GuardSettings
from operando.guard import Taken, settle
from operando.guard._watch import Heart, Owner

OURS, THEIRS = "EmStat4 HR ES4HR24C0001", "EmStat4 HR ES4HR24C0002"


def taken(**who: set[str]) -> Taken:
    told = {name: frozenset(marks) for name, marks in who.items()}
    # Nobody listens there: whoever is told something is not there any more.
    mark = {"port": 1, "token": ""}
    return Taken(7, "bench", unsafe=("potentiostat", "raman"), who=told, mark=mark)


def test_what_answers_is_compared_with_what_was_not_safe() -> None:
    one = taken(potentiostat={OURS})
    (text,) = one.strangers({"potentiostat": THEIRS, "raman": "WP-532"}).values()
    assert f"another instrument ({THEIRS} instead of {OURS}) answers" in text
    assert "the guard (process 7) goes on" in text
    assert settle([one], {"potentiostat": THEIRS}) == [one]
    assert settle([one], {"potentiostat": OURS, "raman": "WP-532"}) == []
    # One that did not connect, and a guard that does not know whom it had.
    assert settle([one], {}) == []
    assert settle([taken()], {"potentiostat": THEIRS}) == []
    both = taken(potentiostat={OURS, THEIRS})
    assert settle([both], {"potentiostat": THEIRS}) == [both]


def test_an_owner_tells_whom_it_has_and_what_is_lent_to_it() -> None:
    heart = Heart(-1, Owner(1), GuardSettings())
    heart._hear(b'{"who": {"potentiostat": ["%s"]}}\n{"loans": {"stand": 17}}\n' % OURS.encode())
    assert heart.who == {"potentiostat": {OURS}}
    assert heart.loans == {"stand": 17}
    # What is damaged changes nothing, and is a sign of life.
    heart._hear(b'{"who": 3}\n{"loans": {"stand": "x"}}\n{"loans": {}}\n')
    assert heart.who == {"potentiostat": {OURS}}
    assert heart.loans == {}
