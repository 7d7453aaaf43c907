"""The commands on the door to a station's queue: who may come in, and opening it."""

import argparse
import getpass
import re
import sys
from pathlib import Path

from ._arguments import AddCommand, Command, port
from ._terminal import OK, complain, say


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "door",
        _start,
        "the queue of a station for other computers: who may come in, and opening it",
        "It is bluesky-httpserver for one station, on this computer alone if nothing else is said.",
    )
    verbs = sub.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, command: Command, help: str) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        one.set_defaults(command=command)
        return one

    one = verb("start", _start, "serve the queue of a station until Ctrl-C")
    one.add_argument("--station", required=True, metavar="NAME", help="whose queue")
    one.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where to listen (%(default)s); another than this computer's own only with TLS, or "
        "behind a proxy that keeps it",
    )
    one.add_argument(
        "--port", type=port, default=60610, metavar="N", help="on which port (%(default)s)"
    )
    one.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificates, PEM")
    one.add_argument("--tls-key", type=Path, metavar="FILE", help="their key, PEM")
    one.add_argument(
        "--behind-proxy",
        action="store_true",
        help="a proxy in front keeps TLS; one on this computer is believed who asks",
    )

    one = verb("users", _users, "list, add, change and remove who may come in")
    one.add_argument(
        "do",
        nargs="?",
        default="list",
        choices=("list", "add", "role", "password", "remove"),
        help="what to do; by default list",
    )
    one.add_argument("name", nargs="?", metavar="NAME", help="of whom")
    one.add_argument("--role", choices=("viewer", "operator", "admin"), help="add, role: which")

    one = verb("key", _key, "make a key for the programs of a user, shown once")
    one.add_argument("name", metavar="NAME", help="whose")
    one.add_argument(
        "--expires", metavar="TIME", help="how long it lasts, 30d or 12h; by default until revoked"
    )
    one.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    one.add_argument("--read-only", action="store_true", help="for looking only")
    one.add_argument("--list", action="store_true", help="list the keys of that user instead")
    one.add_argument(
        "--revoke",
        metavar="EIGHT",
        help="end the one that begins with these eight characters, or all",
    )


def _start(arguments: argparse.Namespace) -> int:
    from operando.queueing.door.server import DoorAddress, serve
    from operando.settings import data_dir

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
    name = arguments.name
    if arguments.do == "list":
        for each, user in sorted(users.all().items()):
            say(f"{each:32}  {user.role}")
        if not users.all():
            say("Nobody yet: operando door users add NAME --role operator")
        return OK
    if name is None:
        raise QueueError(f"whom? `operando door users {arguments.do} NAME`")
    if arguments.do in ("add", "role") and arguments.role is None:
        raise QueueError(f"what may {name} do? --role viewer, operator or admin")
    match arguments.do:
        case "add":
            users.add(name, arguments.role, _password(name))
            # Of somebody of that name who was here before.
            revoke_keys(users.data_dir, name)
            say(f"{name} may come in, as {arguments.role}.")
        case "role":
            users.set_role(name, arguments.role)
            say(f"{name} is {arguments.role} from now on.")
        case "password":
            users.known(name)
            users.set_password(name, _password(name))
            ended = revoke_keys(users.data_dir, name)
            say(f"The password is changed; keys of {name} that ended with it: {ended}.")
        case "remove":
            users.remove(name)
            ended = revoke_keys(users.data_dir, name)
            say(f"{name} may not come in any more; keys that ended with it: {ended}.")
    return OK


def _key(arguments: argparse.Namespace) -> int:
    from operando.queueing.door.keys import keys, make_key, revoke_keys
    from operando.queueing.door.users import Users
    from operando.queueing.errors import QueueError
    from operando.settings import data_dir

    folder, name = data_dir(), arguments.name
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
