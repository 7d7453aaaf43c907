"""The commands on the door to a station's queue: who may come in, and opening it."""

import argparse
import getpass
import re
import sys
from pathlib import Path

from ._arguments import AddCommand
from ._terminal import OK, complain, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "door",
        _door,
        "the queue of a station for other computers: who may come in, and opening it",
        "start serves bluesky-httpserver for one station until Ctrl-C, on this computer alone if "
        "nothing else is said. users lists, adds and removes who may come in. key makes a key for "
        "a user's programs, and shows it once.",
    )
    sub.add_argument("verb", choices=("start", "users", "key"), help="what to do")
    sub.add_argument(
        "words",
        metavar="WORD",
        nargs="*",
        help="users: list, add NAME, remove NAME, role NAME, password NAME; key: NAME",
    )
    sub.add_argument("--station", metavar="NAME", help="start: whose queue")
    sub.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="start: where to listen (%(default)s); another than this computer's own only with "
        "TLS, or behind a proxy that keeps it",
    )
    sub.add_argument(
        "--port", type=int, default=60610, metavar="N", help="start: on which port (%(default)s)"
    )
    sub.add_argument("--tls-cert", type=Path, metavar="FILE", help="start: certificates, PEM")
    sub.add_argument("--tls-key", type=Path, metavar="FILE", help="start: their key, PEM")
    sub.add_argument(
        "--behind-proxy",
        action="store_true",
        help="start: a proxy on this computer keeps TLS, and tells who asks",
    )
    sub.add_argument(
        "--role", choices=("viewer", "operator", "admin"), help="users add, users role: which"
    )
    sub.add_argument(
        "--expires", metavar="DAYS", help="key: how long it lasts, 30d; by default until revoked"
    )
    sub.add_argument("--note", default="", metavar="TEXT", help="key: what it is for")
    sub.add_argument("--read-only", action="store_true", help="key: for looking only")
    sub.add_argument("--list", action="store_true", help="key: list those of a user instead")
    sub.add_argument(
        "--revoke",
        metavar="EIGHT",
        help="key: end the one that begins with these eight characters, or all",
    )


def _door(arguments: argparse.Namespace) -> int:
    match arguments.verb:
        case "start":
            return _start(arguments)
        case "users":
            return _users(arguments)
        case _:
            return _key(arguments)


def _start(arguments: argparse.Namespace) -> int:
    from operando.queueing.door.server import DoorAddress, serve
    from operando.queueing.errors import QueueError
    from operando.settings import data_dir

    if arguments.words or arguments.station is None:
        raise QueueError("whose door? `operando door start --station A1`")
    address = DoorAddress(
        host=arguments.host,
        port=arguments.port,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        behind_proxy=arguments.behind_proxy,
    )

    def opened(where: str) -> None:
        say(f"The door of station {arguments.station} is open at {where} (Ctrl-C closes it).")

    serve(data_dir(), arguments.station, address, opened)
    return OK


def _users(arguments: argparse.Namespace) -> int:
    from operando.queueing.door.keys import revoke_keys
    from operando.queueing.door.users import Users
    from operando.queueing.errors import QueueError
    from operando.settings import data_dir

    users = Users(data_dir())
    match arguments.words or ["list"]:
        case ["list"]:
            for name, user in sorted(users.all().items()):
                say(f"{name:32}  {user.role}")
            if not users.all():
                say("Nobody yet: operando door users add NAME --role operator")
        case ["add", name]:
            if arguments.role is None:
                raise QueueError(f"what may {name} do? --role viewer, operator or admin")
            users.add(name, arguments.role, _password(name))
            # Of somebody of that name who was here before.
            revoke_keys(users.data_dir, name)
            say(f"{name} may come in, as {arguments.role}.")
        case ["role", name]:
            if arguments.role is None:
                raise QueueError(f"what may {name} do? --role viewer, operator or admin")
            users.set_role(name, arguments.role)
            say(f"{name} is {arguments.role} from now on.")
        case ["password", name]:
            users.known(name)
            users.set_password(name, _password(name))
            ended = revoke_keys(users.data_dir, name)
            say(f"The password is changed; keys of {name} that ended with it: {ended}.")
        case ["remove", name]:
            users.remove(name)
            ended = revoke_keys(users.data_dir, name)
            say(f"{name} may not come in any more; keys that ended with it: {ended}.")
        case _:
            raise QueueError(
                "operando door users list | add NAME --role ROLE | remove NAME | role NAME --role "
                "ROLE | password NAME"
            )
    return OK


def _key(arguments: argparse.Namespace) -> int:
    from operando.queueing.door.keys import keys, make_key, revoke_keys
    from operando.queueing.door.users import Users
    from operando.queueing.errors import QueueError
    from operando.settings import data_dir

    if len(arguments.words) != 1:
        raise QueueError("whose key? `operando door key NAME`")
    folder, name = data_dir(), arguments.words[0]
    Users(folder).known(name)
    if arguments.revoke is not None:
        every = arguments.revoke == "all"
        if not every and len(arguments.revoke) < 8:
            raise QueueError("which key? Its first eight characters (--list shows them), or all")
        ended = revoke_keys(folder, name, "" if every else arguments.revoke)
        say(f"Keys of {name} that ended: {ended}.")
    elif arguments.list:
        for key in keys(folder, name):
            until = f"until {key.until:%Y-%m-%d %H:%M} UTC" if key.until else "until revoked"
            used = f"last used {key.used:%Y-%m-%d %H:%M} UTC" if key.used else "never used"
            only = ", read-only" * key.read_only
            say(f"{key.first_eight}  {until}, {used}{only}  {key.note}".rstrip())
    else:
        days = None if arguments.expires is None else _days(arguments.expires)
        secret = make_key(
            folder, name, days=days, note=arguments.note, read_only=arguments.read_only
        )
        complain("this key is shown once; whoever has it is " + name)
        say(secret)
    return OK


def _days(text: str) -> float:
    from operando.queueing.errors import QueueError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(d|h)?", text)
    days = float(found[1]) / (24 if found[2] == "h" else 1) if found else 0.0
    if not 0 < days <= 3650:
        raise QueueError(f"--expires {text} is no time: 30d, 12h")
    return days


def _password(name: str) -> str:
    """Return a password: typed twice, or the first line of what is not a terminal."""
    from operando.queueing.errors import QueueError

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != first:
        raise QueueError("the two passwords differ: nothing is changed")
    return first
