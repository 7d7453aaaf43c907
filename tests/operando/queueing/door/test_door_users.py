"""Who may come through the door, as their file says."""

import stat
from pathlib import Path

import pytest

from operando.queueing.door.users import SCOPES, Users, door_dir
from operando.queueing.errors import QueueError
from operando.queueing.places import write_private

PASSWORD = "a long enough sentence"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def file_of_anna(tmp_path_factory: pytest.TempPathFactory) -> str:
    users = Users(tmp_path_factory.mktemp("anna"))
    users.add("anna", "operator", PASSWORD)
    return users.path.read_text()


@pytest.fixture
def users(tmp_path: Path, file_of_anna: str) -> Users:
    users = Users(tmp_path)
    door_dir(tmp_path)
    write_private(users.path, file_of_anna)
    return users


def test_the_password_of_a_user_and_no_other_opens(users: Users) -> None:
    assert users.check("anna", PASSWORD)
    assert not users.check("anna", PASSWORD + " ")
    assert not users.check("anna", "x" * 10_000)
    assert not users.check("berta", PASSWORD)


def test_the_file_holds_no_password_and_is_its_owners(users: Users) -> None:
    assert PASSWORD not in users.path.read_text()
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(users.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(users.path.parent.parent.stat().st_mode) == 0o700


def test_a_file_that_others_can_read_is_refused(users: Users) -> None:
    users.path.chmod(0o640)
    with pytest.raises(QueueError, match="chmod 600"):
        Users(users.data_dir).all()


@pytest.mark.parametrize("text", ["users: [", "users: {anna: {role: root}}", "- 1", "\x00"])
def test_a_damaged_file_lets_nobody_in(users: Users, text: str) -> None:
    users.path.write_text(text)
    with pytest.raises(QueueError, match="no file of users"):
        users.check("anna", PASSWORD)


def test_what_is_changed_counts_at_once_for_who_has_the_file_open(users: Users) -> None:
    other = Users(users.data_dir)
    users.set_role("anna", "viewer")
    assert other.known("anna").role == "viewer"
    other.set_password("anna", "another sentence, as long")
    assert not users.check("anna", PASSWORD)
    other.remove("anna")
    assert users.get("anna") is None


@pytest.mark.parametrize(
    ("name", "role", "password", "says"),
    [
        ("anna", "viewer", PASSWORD, "already, as operator"),
        ("../anna", "viewer", PASSWORD, "will not do"),
        ("Anna\n", "viewer", PASSWORD, "will not do"),
        ("berta", "root", PASSWORD, "no role 'root': viewer, operator, admin"),
        ("berta", "viewer", "short", "5 characters: 12 or more"),
    ],
)
def test_users_who_will_not_do_are_refused(
    users: Users, name: str, role: str, password: str, says: str
) -> None:
    with pytest.raises(QueueError, match=says):
        users.add(name, role, password)
    assert list(users.all()) == ["anna"]


def test_no_role_has_a_scope_for_code_environment_or_lock() -> None:
    given = set().union(*SCOPES.values())
    closed = {"execute", "scripts", "manager", "permissions", "config", "lock", "testing"}
    assert not {scope for scope in given if scope.startswith("write:")} & {
        scope for scope in given if set(scope.split(":")[1:]) & closed
    }
    assert SCOPES["viewer"] < SCOPES["operator"] < SCOPES["admin"]
    assert not any(scope.startswith("write") for scope in SCOPES["viewer"])
