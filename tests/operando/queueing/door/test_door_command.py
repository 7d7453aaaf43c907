"""The commands on the door, but those that need a station."""

import io
from pathlib import Path

import pytest

from operando.cli import OK, REFUSED, main
from operando.queueing.door.server import DoorAddress, is_loopback
from operando.queueing.door.users import Users
from operando.queueing.errors import QueueError

PASSWORD = "a long enough sentence"  # noqa: S105 - of nobody


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPERANDO_DATA", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    return tmp_path


def test_users_are_added_listed_and_removed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["door", "users"]) == OK
    assert "Nobody yet" in capsys.readouterr().out
    assert main(["door", "users", "add", "otto", "--role", "operator"]) == OK
    assert Users(data).check("otto", PASSWORD)
    assert main(["door", "users", "role", "otto", "--role", "viewer"]) == OK
    capsys.readouterr()
    assert main(["door", "users", "list"]) == OK
    assert capsys.readouterr().out.split() == ["otto", "viewer"]
    assert main(["door", "users", "remove", "otto"]) == OK
    assert Users(data).all() == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["users", "add", "otto"], "--role viewer, operator or admin"),
        (["users", "remove", "otto"], "the door knows no user otto"),
        (["key", "otto"], "users add otto"),
        (["users", "add"], "whom"),
        (["start", "--station", "A1"], "the door knows nobody yet"),
        (["start", "--station", "A1", "--host", "0.0.0.0"], "keys would travel in the clear"),  # noqa: S104 - refused
        (["start", "--station", "A1", "--tls-key", "key.pem"], "go together"),
    ],
)
def test_what_will_not_do_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["door", *words]) == REFUSED
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0d", "-1d", "10y", "4000d", "soon"])
def test_a_key_ends_at_a_time(data: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    Users(data).add("otto", "viewer", PASSWORD)
    assert main(["door", "key", "otto", f"--expires={text}"]) == REFUSED
    assert "is no time: 30d, 12h" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_only_this_computer_is_spoken_to_in_the_clear(host: str) -> None:
    assert is_loopback(host)
    DoorAddress(host).check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "station.example.org", ""])  # noqa: S104 - refused
def test_other_computers_are_spoken_to_by_tls_or_through_a_proxy(host: str, tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="ssh -L"):
        DoorAddress(host).check()
    DoorAddress(host, behind_proxy=True).check()
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    with pytest.raises(QueueError, match="is no file"):
        DoorAddress(host, tls_cert=certificate, tls_key=key).check()
    certificate.touch()
    key.touch(0o644)
    key.chmod(0o644)
    with pytest.raises(QueueError, match="chmod 600"):
        DoorAddress(host, tls_cert=certificate, tls_key=key).check()
    key.chmod(0o600)
    DoorAddress(host, tls_cert=certificate, tls_key=key).check()
