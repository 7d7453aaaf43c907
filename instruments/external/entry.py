"""What a bench file tells of an instrument that cannot be driven."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from instruments.entry import AddressedEntry
from instruments.external.watched_folder import WatchedFolder
from instruments.relay_board import RelayBoard


class ExternalEntry(AddressedEntry):
    """A box that writes files; each of them is attached to the run in whose time it was begun."""

    kind: Literal["external"]
    language: Literal["folder"]
    pattern: str = Field(default="*", min_length=1, description="Which files, as in a shell.")
    reader: str | None = Field(
        default=None,
        min_length=1,
        description="How they are read: dems_csv, jcamp_dx, xrd_xy, afm_text, ultrasound_csv, ...; "
        "none: by their ending.",
    )
    clock_offset_s: float = Field(
        default=0.0, description="How far the box's clock is ahead of this computer's, s."
    )
    clock_uncertainty_s: float = Field(
        default=1.0, gt=0, description="How well that is known, s: so much wider is where it lies."
    )
    board: str | None = Field(
        default=None,
        description="Name of a relay_board that starts it by a contact; none: nothing does.",
    )
    start_relay: int = Field(default=0, ge=0)

    @property
    def boards(self) -> tuple[str, ...]:
        return () if self.board is None else (self.board,)

    def driver(self, boards: Mapping[str, RelayBoard]) -> WatchedFolder:
        """Return the driver, nothing of it connected; ``boards`` are those of the bench."""
        return WatchedFolder(
            self.address,
            pattern=self.pattern,
            board=None if self.board is None else boards[self.board],
            start_relay=self.start_relay,
        )
