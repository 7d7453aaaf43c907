"""What a bench file tells of a relay board."""

from typing import ClassVar, Literal

from instruments.entry import AddressedEntry
from instruments.lending import SharedPart
from instruments.relay_board.numato import NumatoRelayBoard


class RelayBoardEntry(AddressedEntry, SharedPart):
    """A relay board on a serial line; lamp and gas chromatograph hang on it."""

    unreached_means: ClassVar[str] = "its relays stay as they are: so does what hangs on them"

    kind: Literal["relay_board"]
    language: Literal["numato"]

    @classmethod
    def driver_class(cls) -> type[NumatoRelayBoard]:
        return NumatoRelayBoard

    def driver(self) -> NumatoRelayBoard:
        return NumatoRelayBoard(self.address)
