"""The command alerts: who is told what happened, and whether they can be."""

import argparse
import time
from typing import TYPE_CHECKING

from ._arguments import AddCommand
from ._terminal import FAILED, OK, complain, say

if TYPE_CHECKING:
    from techniques.queueing import AlertSettings


def declare(add: AddCommand) -> None:
    """Add the command."""
    sub = add(
        "alerts",
        _list,
        "who is told what happened at the stations, and what was told",
        "Addresses are Apprise URLs, one a line, in $OPERANDO_ALERTS and in the file that alerts: "
        "urls_file: of config/stations.yaml names (mode 0600). They are secrets and never shown.",
    )
    parts = sub.add_subparsers(metavar="WHAT", required=True)
    listed = parts.add_parser(
        "list", help="the addresses by kind, and the newest alerts with what became of them"
    )
    listed.set_defaults(command=_list)
    test = parts.add_parser("test", help="send a test to every address now, and say who took it")
    test.set_defaults(command=_test)
    test.add_argument("--event", metavar="EVENT", default="test", help="as if this had happened")


def _list(arguments: argparse.Namespace) -> int:
    from operando.queueing.alerts import addresses, recent
    from operando.settings import data_dir

    settings = _settings()
    found = addresses(settings)
    for one in found.told:
        say(f"{one.name}: {one.service}")
    if not found.told:
        say("Nobody is told: $OPERANDO_ALERTS and urls_file name no address.")
    where = "to nobody ($OPERANDO_HEARTBEAT_URL, or a line heartbeat: URL of urls_file)"
    say(f"heartbeat: {'every 5 minutes' if found.heartbeat_url else where}")
    for shown in recent(data_dir()):
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(shown.alert.at))
        whose = f" {shown.alert.station}" if shown.alert.station else ""
        to = f" to {', '.join(shown.to)}" if shown.to else ""
        why = f" ({shown.why})" if shown.why and shown.state != "sent" else ""
        state = shown.state.replace("_", " ")
        say(f"{when}{whose} {shown.alert.event}: {shown.alert.title} [{state}{to}]{why}")
    for sentence in found.problems:
        complain(sentence)
    return FAILED if found.problems else OK


def _test(arguments: argparse.Namespace) -> int:
    from operando.queueing.alerts import EVENTS, Alerts
    from operando.settings import data_dir

    if arguments.event not in EVENTS:
        complain(f"no such event: {arguments.event}; there are {', '.join(EVENTS)}")
        return FAILED
    alerts = Alerts(_settings(), data_dir())
    results = alerts.test(arguments.event)
    alerts.close()
    for name, why in results.items():
        say(f"{name}: {f'FAILED: {why}' if why else 'sent'}")
    for sentence in alerts.problems:
        complain(sentence)
    if not results:
        complain(
            "nobody is told: put addresses (https://appriseit.com/services) into $OPERANDO_ALERTS, "
            "one a line, or into a file of mode 0600 that alerts: urls_file: of "
            "config/stations.yaml names"
        )
    return FAILED if alerts.problems or not results or any(results.values()) else OK


def _settings() -> "AlertSettings":
    from operando.configuration import load_stations

    return load_stations().alerts
