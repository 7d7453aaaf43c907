"""What a bench file tells of an instrument that cannot be driven."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from instruments.entry import AddressedEntry, ZoneName
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
        description="How they are read: dems_csv, jcamp_dx, xrd_xy, afm_text, gwy, "
        "ultrasound_csv, ...; none: by their ending.",
    )
    clock_offset_s: float = Field(
        default=0.0, description="How far the box's clock is ahead of this computer's, s."
    )
    clock_uncertainty_s: float = Field(
        default=1.0, gt=0, description="How well that is known, s: so much wider is where it lies."
    )
    time_zone: ZoneName | None = Field(
        default=None,
        description="Zone of times in its files that tell none, such as Europe/Berlin or UTC; "
        "none: that of this computer.",
    )
    files_dated_by: Literal["box", "computer"] = Field(
        default="box",
        description="Whose clock dates the files of a folder: the box's, so that the offset is "
        "taken off, or this computer's.",
    )
    duration_s: float = Field(
        default=0.0,
        ge=0,
        description="How long one measurement takes that tells its beginning or its end alone, s.",
    )
    wavelength_angstrom: float | None = Field(
        default=None,
        gt=0,
        description="Of a diffractometer, angstrom; none: taken as Cu K-alpha, and said so.",
    )
    board: str | None = Field(
        default=None,
        description="Name of a relay_board that starts it by a contact; none: nothing does.",
    )
    start_relay: int | None = Field(
        default=None, ge=0, description="Which relay of the board starts it."
    )

    @model_validator(mode="after")
    def _a_board_starts_it_by_a_relay(self) -> Self:
        if (self.board is None) != (self.start_relay is None):
            raise ValueError(
                "board and start_relay belong together: which contact of which board starts it; "
                "leave both out where nothing does"
            )
        return self

    @property
    def boards(self) -> tuple[str, ...]:
        return () if self.board is None else (self.board,)

    @property
    def relays(self) -> tuple[tuple[str, int], ...]:
        if self.board is None or self.start_relay is None:
            return ()
        return ((self.board, self.start_relay),)

    @classmethod
    def driver_class(cls) -> type[WatchedFolder]:
        return WatchedFolder

    def driver(self, boards: Mapping[str, RelayBoard]) -> WatchedFolder:
        """Return the driver, nothing of it connected; ``boards`` are those of the bench."""
        return WatchedFolder(
            self.address,
            pattern=self.pattern,
            board=None if self.board is None else boards[self.board],
            start_relay=self.start_relay or 0,
        )
