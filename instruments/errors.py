"""What can go wrong between the computer and an instrument.

InstrumentError
    TransportError              the bytes did not pass (port gone, refused, busy)
        TransportTimeout        nothing came within the time allowed
    ProtocolError               the bytes passed but are not what the manual says
    InstrumentFaultError        the instrument itself reports an error
        InterlockTrippedError   an interlock has opened its relays by itself
        StrangerError           another instrument answers than the one that was there
    UnsupportedTechniqueError   this instrument cannot do what is asked
    SafetyLimitError            what is asked, or what was measured, is outside a safety limit
        ReferenceElectrodeError the reference electrode is not what the cell file says it is

A message says who (device and address), what was asked, what came (the bytes, as ``repr``) and
what to do about it.
"""


class InstrumentError(Exception):
    """Base of every error raised by ``instruments``."""


class TransportError(InstrumentError):
    """The bytes did not pass."""


class TransportTimeout(TransportError):  # noqa: N818 - the trade says "timeout"
    """Nothing came within the time allowed, or nothing whole.

    Attributes:
        heard: what did come, empty if it was nothing.
    """

    def __init__(self, message: str, *, heard: bytes = b"") -> None:
        super().__init__(message)
        self.heard = heard


class ProtocolError(InstrumentError):
    """The reply is not one the manual allows."""


class InstrumentFaultError(InstrumentError):
    """The instrument reports an error of its own."""


class InterlockTrippedError(InstrumentFaultError):
    """An interlock has opened its relays by itself: cell and laser are cut off."""


class StrangerError(InstrumentFaultError):
    """Another instrument answers at an address: nothing is known of the one that was there."""


class UnsupportedTechniqueError(InstrumentError):
    """The instrument cannot do what is asked; raised before anything moves."""


class SafetyLimitError(InstrumentError):
    """A safety limit forbids what is asked, or ended what was running."""


class ReferenceElectrodeError(SafetyLimitError):
    """The reference electrode is absent, floating, or not the one that the cell file names."""
