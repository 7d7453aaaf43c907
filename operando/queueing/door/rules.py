"""What may be asked through the door, and by whom; what is not named here is closed.

The paths are bluesky-httpserver's (0.0.14) and ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Check = Literal["add", "add_batch", "update", "move", "move_batch"]


@dataclass(frozen=True)
class Rule:
    """What is needed for a request.

    Attributes:
        scope: The scope the user, and the key used, must have; ``None``: any user.
        check: How its body is looked at before anybody else sees it; ``None``: not.
        keyless: Whether it is asked to get a token, so that none can be there yet.
    """

    scope: str | None = None
    check: Check | None = None
    keyless: bool = False


LOGIN = "/api/auth/provider/operando/token"

OPEN: Mapping[tuple[str, str], Rule] = {
    ("POST", LOGIN): Rule(keyless=True),
    ("POST", "/api/auth/session/refresh"): Rule(keyless=True),
    ("GET", "/api/auth/whoami"): Rule(),
    ("GET", "/api/auth/scopes"): Rule(),
    ("GET", "/api/auth/apikey"): Rule("user:apikeys"),
    ("DELETE", "/api/auth/apikey"): Rule("user:apikeys"),
    ("POST", "/api/auth/logout"): Rule(),
    ("GET", "/api/"): Rule("read:status"),
    ("GET", "/api/ping"): Rule("read:status"),
    ("GET", "/api/status"): Rule("read:status"),
    ("GET", "/api/config/get"): Rule("read:config"),
    ("GET", "/api/queue/get"): Rule("read:queue"),
    ("GET", "/api/queue/item/get"): Rule("read:queue"),
    ("GET", "/api/history/get"): Rule("read:history"),
    ("POST", "/api/re/runs"): Rule("read:monitor"),
    ("GET", "/api/re/runs/active"): Rule("read:monitor"),
    ("GET", "/api/re/runs/open"): Rule("read:monitor"),
    ("GET", "/api/re/runs/closed"): Rule("read:monitor"),
    ("GET", "/api/plans/allowed"): Rule("read:resources"),
    ("GET", "/api/devices/allowed"): Rule("read:resources"),
    ("GET", "/api/plans/existing"): Rule("read:resources"),
    ("GET", "/api/devices/existing"): Rule("read:resources"),
    ("GET", "/api/permissions/get"): Rule("read:config"),
    ("GET", "/api/lock/info"): Rule("read:lock"),
    ("GET", "/api/console_output"): Rule("read:console"),
    ("GET", "/api/console_output/uid"): Rule("read:console"),
    ("GET", "/api/console_output_update"): Rule("read:console"),
    ("POST", "/api/queue/item/add"): Rule("write:queue:edit", "add"),
    ("POST", "/api/queue/item/add/batch"): Rule("write:queue:edit", "add_batch"),
    ("POST", "/api/queue/item/update"): Rule("write:queue:edit", "update"),
    ("POST", "/api/queue/item/remove"): Rule("write:queue:edit"),
    ("POST", "/api/queue/item/remove/batch"): Rule("write:queue:edit"),
    ("POST", "/api/queue/item/move"): Rule("write:queue:edit", "move"),
    ("POST", "/api/queue/item/move/batch"): Rule("write:queue:edit", "move_batch"),
    ("GET", "/operando/state"): Rule("read:queue"),
    ("GET", "/operando/notes"): Rule("read:history"),
    ("POST", "/operando/note"): Rule("write:queue:edit"),
    ("POST", "/operando/hold"): Rule("write:queue:edit"),
    ("POST", "/operando/release"): Rule("write:queue:edit"),
    ("POST", "/operando/pause"): Rule("write:queue:control"),
    ("POST", "/operando/resume"): Rule("write:queue:control"),
    ("POST", "/operando/stop"): Rule("write:plan:control"),
    ("POST", "/operando/skip-step"): Rule("write:plan:control"),
    ("POST", "/operando/amend"): Rule("write:plan:control"),
    ("POST", "/operando/abort"): Rule("write:others"),
}

_SUPERVISOR = (
    "only the supervisor starts items, each when its time, its cell and its station allow it: "
    "POST /operando/pause and /operando/resume say whether it may"
)
_CODE = "no code comes through the door: log in on the station's computer"
_RUNNING = "a running item is changed by POST /operando/stop, /operando/skip-step, /operando/amend"
_ENVIRONMENT = "the station is opened and closed on its computer, by `operando station`"
_HERE = "it is done on the station's computer"

# The first that a path begins with tells what to do instead.
CLOSED: tuple[tuple[str, str], ...] = (
    ("/api/script", _CODE),
    ("/api/function", _CODE),
    ("/api/kernel", _CODE),
    ("/api/task", _CODE),
    ("/api/environment", _ENVIRONMENT),
    ("/api/re/", _RUNNING),
    ("/api/queue/item/execute", _SUPERVISOR),
    ("/api/queue/upload", "send items as JSON: POST /api/queue/item/add/batch"),
    ("/api/queue/clear", "remove items one by one: POST /api/queue/item/remove"),
    ("/api/queue", _SUPERVISOR),
    ("/api/history", "the history is kept"),
    ("/api/auth/apikey", "keys are made on the station's computer, by `operando door key`"),
    ("/api/auth", "users are kept on the station's computer, by `operando door users`"),
    ("/api/stream_console_output", "ask GET /api/console_output_update again and again"),
    ("/api/lock", "the supervisor keeps the lock: nobody else can start what stands in the queue"),
    ("/api/unlock", "the supervisor keeps the lock: else anybody could start what stands there"),
    ("/api/manager", _HERE),
    ("/api/permissions", _HERE),
    ("/api/test", _HERE),
)


def why_closed(method: str, path: str) -> str | None:
    """Return what to do instead of a request that is closed; ``None``: the door knows no such."""
    return next((advice for start, advice in CLOSED if path.startswith(start)), None)
