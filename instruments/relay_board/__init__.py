"""Relay boards: contacts and digital inputs, and the lamp that hangs on one."""

from instruments.relay_board.contract import RelayBoard, is_connected, leave_open
from instruments.relay_board.lamp import AllLamps, Lamp
from instruments.relay_board.numato import NumatoRelayBoard

__all__ = ["AllLamps", "Lamp", "NumatoRelayBoard", "RelayBoard", "is_connected", "leave_open"]
