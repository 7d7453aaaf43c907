"""Variables of the environment that only who sends alerts needs."""

from collections.abc import Mapping

ALERTS, HEARTBEAT_URL = "OPERANDO_ALERTS", "OPERANDO_HEARTBEAT_URL"


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that sends no alerts: a manager, a worker."""
    return {key: value for key, value in environment.items() if key not in (ALERTS, HEARTBEAT_URL)}
