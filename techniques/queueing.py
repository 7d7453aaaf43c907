"""Stations and what they do unattended, as data: the file ``config/stations.yaml``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from techniques._base import Data

# Of a station, in file names, Redis keys and on the command line.
StationName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
OnDeath = Literal["resume", "skip", "hold"]
Supply = Literal["mains", "ups", "independent"]


class SimulatedBench(Data):
    """A simulated bench, which the supervisor starts for a station without hardware."""

    cell: str = Field(description="A preset: operando sim --list-cells.")
    factor: float = Field(
        default=100.0, gt=0, description="Simulated cell seconds per second at most."
    )
    seed: int | None = Field(default=None, ge=0, description="By default that of the name.")


class StationEntry(Data):
    """One station: the instruments of one cell, with a queue of its own."""

    name: StationName = Field(
        description="A letter, then letters, digits, - and _: 32 characters at most."
    )
    bench: str = Field(description="A bench file, or a name in the configuration folder.")
    simulate: SimulatedBench | None = None
    on_death: OnDeath = Field(
        default="resume",
        description="What is done when the worker died or hung in a run: resume goes on at the "
        "right half-cycle, and holds where that is not certain; skip goes on with the next item; "
        "hold leaves the cell open and tells somebody.",
    )
    supply: Supply = Field(
        default="mains",
        description="What feeds the potentiostat. Of mains: after the computer was off the cell is "
        "looked at before anything goes on, and what runs is ended as soon as the mains are told "
        "to be lost (operando station mains).",
    )
    hold_after_s: float | None = Field(
        default=300.0,
        ge=0,
        description="Of ups and independent: how long what runs goes on when the mains are told to "
        "be lost, s; then it is ended, its cell opened, and held until they are back. None: until "
        "the battery is told to be low.",
    )
    lease_priority: int = Field(
        default=0, description="Of this station at instruments that stations share; more is first."
    )


class AlertSettings(Data):
    """Who is told what. Addresses hold secrets: they are named here, and written elsewhere.

    The addresses (Apprise URLs, one a line) are in ``$OPERANDO_ALERTS``, and in a file that only
    its owner can read. ``$OPERANDO_HEARTBEAT_URL``, or a line ``heartbeat: URL`` of that file, is
    asked for every five minutes: of a service that raises the alarm when it is not.
    """

    urls_file: str | None = Field(
        default=None, description="A file of mode 0600 with one address a line; # is a comment."
    )
    at_most_per_hour: int = Field(
        default=20, ge=1, description="Alerts in an hour at most; what is left out is counted."
    )
    not_again_within_s: float = Field(
        default=900.0, ge=0, description="The same alert of a station is not sent again so soon, s."
    )
    heartbeat_h: float | None = Field(
        default=24.0, gt=0, description="A sign of life so often, h, so that silence is noticed."
    )


class Retention(Data):
    """How full the disk may become, and which raw data may go: exported ones only, and old ones."""

    warn_below_gb: float = Field(default=20.0, gt=0, description="Free space that is told, GB.")
    hold_below_gb: float = Field(
        default=5.0, gt=0, description="Free space below which no item is started, GB."
    )
    warn_below_days: float = Field(
        default=3.0,
        ge=0,
        description="It is also told when the space lasts no longer at the last day's rate, days.",
    )
    delete_exported_after_days: float | None = Field(
        default=None,
        gt=0,
        description="Images and spectra of runs that ended so long ago are deleted if a complete "
        "export was verified; none: nothing is ever deleted.",
    )

    @model_validator(mode="after")
    def _told_before_it_holds(self) -> Self:
        if self.hold_below_gb > self.warn_below_gb:
            raise ValueError(
                f"hold_below_gb {self.hold_below_gb:g} is above warn_below_gb "
                f"{self.warn_below_gb:g}: nobody would be told in time"
            )
        return self


class StationsFile(Data):
    """What ``operando station`` keeps running."""

    redis: str = Field(
        default="embedded",
        description="embedded: a server of our own on loopback; else HOST:PORT or HOST:PORT/DB, "
        "whose password is in $OPERANDO_REDIS_PASSWORD.",
    )
    stations: tuple[StationEntry, ...] = Field(min_length=1)
    ups: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+(:[0-9]{1,5})?$",
        description="The UPS of these stations, NAME@HOST or NAME@HOST:PORT of a server of Network "
        "UPS Tools (upsd), which is asked every 5 s; none: its scripts call operando station "
        "mains, or nobody does.",
    )
    alerts: AlertSettings = AlertSettings()
    retention: Retention = Retention()
    daily_at: str | None = Field(
        default="07:00",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="When the figure and table of the day are made, local time; null: never.",
    )

    @model_validator(mode="after")
    def _stations_have_names_of_their_own(self) -> Self:
        names = [station.name for station in self.stations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several stations are called {', '.join(twice)}: rename one")
        return self

    def station(self, name: str) -> StationEntry | None:
        """Return the station of that name; ``None``: there is none."""
        return next((one for one in self.stations if one.name == name), None)
