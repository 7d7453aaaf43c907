"""Ways for bytes to reach an instrument; importing this package opens no port."""

from instruments.transport._addresses import DIALOGUES, open_transport, resolve
from instruments.transport._clock import clock_ns
from instruments.transport._contract import Transport
from instruments.transport._recording import RecordingTransport, Turn, read_dialogue
from instruments.transport._serial import SerialSettings, SerialTransport
from instruments.transport._tcp import TcpTransport
from instruments.transport._visa import VisaTransport

__all__ = [
    "DIALOGUES",
    "RecordingTransport",
    "SerialSettings",
    "SerialTransport",
    "TcpTransport",
    "Transport",
    "Turn",
    "VisaTransport",
    "clock_ns",
    "open_transport",
    "read_dialogue",
    "resolve",
]
