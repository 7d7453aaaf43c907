"""The techniques: what a potentiostat can be asked to do, as data.

Currents and potentials are told from the metal electrode's side: ``plate`` deposits metal on it,
``strip`` dissolves it, whichever cable it hangs on; a potential is that of the metal electrode
against the other electrode. Amperes and the IUPAC sign of the working electrode follow from the
cell (area, ``metal_electrode``) when the technique is assigned to it.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from techniques._base import Data
from techniques.failure_policy import OnFailure
from techniques.limits import Limit, not_applicable
from techniques.recording import Recording

Role = Literal["plate", "strip"]
Versus = Literal["other_electrode", "open_circuit"]

_ENDS_AT_SET_CURRENT = (
    "time_s",
    "charge_mah_cm2",
    "potential_above_v",
    "potential_below_v",
    "abs_potential_above_v",
)
_ENDS_A_SWEEP = ("abs_current_above_ma_cm2", "charge_mah_cm2")
_ENDS_A_HOLD = ("time_s", "abs_current_below_ma_cm2", *_ENDS_A_SWEEP)
_VERSUS = (
    "What the potentials are told against: what the instrument measures against (the other "
    "electrode, or the reference if there is one), or the open circuit potential measured just "
    "before."
)

# Steps of a sweep by default: this high, unless the scan is too fast for that many.
_SWEEP_STEP_V, _SHORTEST_SWEEP_STEP_S = 1e-3, 2e-3


class OpenCircuit(Data):
    """Measure the potential with the cell disconnected."""

    type: Literal["open_circuit"] = "open_circuit"
    duration_s: float = Field(gt=0, description="Longest duration, s.")
    drift_below_v_s: float | None = Field(
        default=None,
        gt=0,
        description="End early when |dE/dt| over the drift window falls below this, V/s.",
    )
    drift_window_s: float = Field(
        default=60.0, gt=0, description="Window over which the drift is taken, s."
    )
    record: Recording = Recording()
    on_failure: OnFailure = None


class GalvanostaticStep(Data):
    """Hold one current until a limit is met."""

    type: Literal["galvanostatic_step"] = "galvanostatic_step"
    role: Role | None = Field(
        default=None, description="plate or strip: the sign follows; else the sign is given."
    )
    current_density_ma_cm2: float = Field(
        description="Current per geometric area, mA/cm2: a magnitude when a role is given, else "
        "signed, positive oxidising (stripping) the metal electrode."
    )
    until: tuple[Limit, ...] = Field(
        min_length=1, description="What ends the step; at least one of time and charge."
    )
    record: Recording = Recording()
    on_failure: OnFailure = None

    @model_validator(mode="after")
    def _ends_and_has_a_sign(self) -> Self:
        wrong = not_applicable(self.until, _ENDS_AT_SET_CURRENT, "its current is set")
        if wrong is not None:
            raise ValueError(wrong)
        if self.current_density_ma_cm2 == 0:
            raise ValueError("current_density_ma_cm2 is 0: use open_circuit for a rest")
        if self.role is not None and self.current_density_ma_cm2 < 0:
            raise ValueError(
                f"current_density_ma_cm2 is {self.current_density_ma_cm2} although the role is "
                f"{self.role!r}: give the magnitude, the sign follows from the role"
            )
        if self.expected_s == float("inf"):
            raise ValueError(
                "nothing is sure to end this step: add a limit with quantity time_s or "
                "charge_mah_cm2"
            )
        low = [x.value for x in self.until if x.quantity == "potential_below_v"]
        high = [x.value for x in self.until if x.quantity == "potential_above_v"]
        if low and high and max(low) >= min(high):
            raise ValueError(
                f"the limits contradict each other: potential_below_v {max(low)} V is not below "
                f"potential_above_v {min(high)} V, so the step would end at once"
            )
        return self

    @property
    def signed_current_density_ma_cm2(self) -> float:
        """Return the current density, mA/cm2, positive when it strips the metal electrode."""
        return -self.current_density_ma_cm2 if self.role == "plate" else self.current_density_ma_cm2

    @property
    def expected_s(self) -> float:
        """Return the longest time the step can last by its time and charge limits, in s."""
        rate = abs(self.current_density_ma_cm2) / 3600
        ends = [x.value for x in self.until if x.quantity == "time_s"]
        ends += [x.value / rate for x in self.until if x.quantity == "charge_mah_cm2"]
        return min(ends, default=float("inf"))


class PotentiostaticStep(Data):
    """Hold one potential until a limit is met: chronoamperometry, or the end of a CC-CV charge."""

    type: Literal["potentiostatic_step"] = "potentiostatic_step"
    role: Role | None = Field(
        default=None,
        description="plate or strip: it is a half-cycle; none: chronoamperometry. The direction of "
        "the current follows from the potential alone.",
    )
    potential_v: float = Field(description="Potential of the metal electrode, V.")
    versus: Versus = Field(default="other_electrode", description=_VERSUS)
    until: tuple[Limit, ...] = Field(
        min_length=1, description="What ends the step; at least one of time."
    )
    continues_half_cycle: bool = Field(
        default=False,
        description="The half-cycle just before goes on, and its number: the constant-voltage end "
        "of a CC-CV charge.",
    )
    record: Recording = Recording()
    on_failure: OnFailure = None

    @model_validator(mode="after")
    def _ends_and_belongs(self) -> Self:
        wrong = not_applicable(self.until, _ENDS_A_HOLD, "its potential is set")
        if wrong is not None:
            raise ValueError(wrong)
        if self.expected_s == float("inf"):
            raise ValueError(
                "nothing is sure to end this step: add a limit with quantity time_s (a charge may "
                "never be reached where the current decays)"
            )
        below = [x.value for x in self.until if x.quantity == "abs_current_below_ma_cm2"]
        above = [x.value for x in self.until if x.quantity == "abs_current_above_ma_cm2"]
        if below and above and max(below) >= min(above):
            raise ValueError(
                f"the limits contradict each other: abs_current_below_ma_cm2 {max(below)} is not "
                f"below abs_current_above_ma_cm2 {min(above)}, so the step would end at once"
            )
        if self.continues_half_cycle and self.role is None:
            raise ValueError("continues_half_cycle needs the role of the half-cycle that goes on")
        return self

    @property
    def expected_s(self) -> float:
        """Return the longest time the step can last by its time limits, in s."""
        return min((x.value for x in self.until if x.quantity == "time_s"), default=float("inf"))


class LinearSweep(Data):
    """Move the potential at one rate from ``begin_v`` to ``end_v``, a row per step of it."""

    type: Literal["linear_sweep"] = "linear_sweep"
    begin_v: float = Field(description="First potential of the metal electrode, V.")
    end_v: float = Field(description="Last potential, V.")
    versus: Versus = Field(default="other_electrode", description=_VERSUS)
    scan_rate_v_s: float = Field(gt=0, description="Scan rate, V/s.")
    step_v: float | None = Field(
        default=None,
        gt=0,
        description="Potential between two rows, V; by default 1 mV, more in a fast scan.",
    )
    until: tuple[Limit, ...] = Field(default=(), description="What ends the sweep early.")
    on_failure: OnFailure = None

    @model_validator(mode="after")
    def _moves(self) -> Self:
        wrong = not_applicable(self.until, _ENDS_A_SWEEP, "its potential is set")
        if wrong is not None:
            raise ValueError(wrong)
        span = abs(self.end_v - self.begin_v)
        if span < self.row_step_v:
            raise ValueError(
                f"the sweep from {self.begin_v} V to {self.end_v} V is shorter than one step of "
                f"{self.row_step_v:g} V"
            )
        return self

    @property
    def turns_v(self) -> tuple[float, ...]:
        """Return the potentials between which it moves, V, the first included."""
        return self.begin_v, self.end_v

    @property
    def row_step_v(self) -> float:
        """Return the potential between two rows, V."""
        return self.step_v or max(_SWEEP_STEP_V, self.scan_rate_v_s * _SHORTEST_SWEEP_STEP_S)

    @property
    def expected_s(self) -> float:
        """Return how long the sweep lasts if no limit ends it, in s."""
        return abs(self.end_v - self.begin_v) / self.scan_rate_v_s


class CyclicVoltammetry(Data):
    """Sweep from ``begin_v`` to the first vertex, to the second and back; ``scans`` times."""

    type: Literal["cyclic_voltammetry"] = "cyclic_voltammetry"
    begin_v: float = Field(description="Potential where each scan begins and ends, V.")
    vertex1_v: float = Field(description="Where the potential turns first, V.")
    vertex2_v: float = Field(description="Where it turns again, V; it may be begin_v.")
    versus: Versus = Field(default="other_electrode", description=_VERSUS)
    scan_rate_v_s: float = Field(gt=0, description="Scan rate, V/s.")
    scans: int = Field(default=1, ge=1, description="Number of scans.")
    step_v: float | None = Field(
        default=None,
        gt=0,
        description="Potential between two rows, V; by default 1 mV, more in a fast scan.",
    )
    until: tuple[Limit, ...] = Field(default=(), description="What ends the scans early.")
    on_failure: OnFailure = None

    @model_validator(mode="after")
    def _moves(self) -> Self:
        wrong = not_applicable(self.until, _ENDS_A_SWEEP, "its potential is set")
        if wrong is not None:
            raise ValueError(wrong)
        if abs(self.vertex1_v - self.vertex2_v) < self.row_step_v:
            raise ValueError(
                f"the vertices {self.vertex1_v} V and {self.vertex2_v} V are closer than one step "
                f"of {self.row_step_v:g} V"
            )
        return self

    @property
    def turns_v(self) -> tuple[float, ...]:
        """Return the potentials between which one scan moves, V, the first included."""
        return self.begin_v, self.vertex1_v, self.vertex2_v, self.begin_v

    @property
    def row_step_v(self) -> float:
        """Return the potential between two rows, V."""
        return self.step_v or max(_SWEEP_STEP_V, self.scan_rate_v_s * _SHORTEST_SWEEP_STEP_S)

    @property
    def expected_s(self) -> float:
        """Return how long the scans last if no limit ends them, in s."""
        way = sum(abs(b - a) for a, b in zip(self.turns_v, self.turns_v[1:], strict=False))
        return self.scans * way / self.scan_rate_v_s


class ImpedanceSpectrum(Data):
    """Measure the impedance over a range of frequencies, high to low.

    Amplitudes are rms, as the instruments mean them; 10 mV rms or less keeps the cell linear.
    """

    type: Literal["impedance_spectrum"] = "impedance_spectrum"
    mode: Literal["potentiostatic", "galvanostatic"] = "potentiostatic"
    amplitude_rms_v: float | None = Field(default=None, gt=0, description="Potentiostatic, V rms.")
    amplitude_rms_ma_cm2: float | None = Field(
        default=None, gt=0, description="Galvanostatic, mA/cm2 rms."
    )
    frequency_max_hz: float = Field(default=1e5, gt=0, description="First frequency, Hz.")
    frequency_min_hz: float = Field(default=0.1, gt=0, description="Last frequency, Hz.")
    points_per_decade: int = Field(default=10, ge=1, le=100)
    potential_v: float | None = Field(
        default=None,
        description="Bias of the metal electrode against the other, V; by default the open "
        "circuit potential measured just before.",
    )
    on_failure: OnFailure = None

    @model_validator(mode="after")
    def _amplitude_fits_the_mode(self) -> Self:
        wanted, other = ("amplitude_rms_v", "amplitude_rms_ma_cm2")
        if self.mode == "galvanostatic":
            wanted, other = other, wanted
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise ValueError(f"a {self.mode} spectrum needs {wanted}, and no {other}")
        if self.mode == "galvanostatic" and self.potential_v is not None:
            raise ValueError("a galvanostatic spectrum has no potential_v: its bias is 0 current")
        if self.frequency_min_hz >= self.frequency_max_hz:
            raise ValueError(
                f"frequency_min_hz {self.frequency_min_hz} is not below "
                f"frequency_max_hz {self.frequency_max_hz}"
            )
        return self


class PlateStripCycle(Data):
    """Plate, rest, strip, rest; ``cycles`` times.

    ``between`` runs after the first half-cycle and its rest, in each cycle or in every
    ``between_every``-th: an impedance spectrum of the freshly plated electrode, for example. It
    must not plate or strip itself.
    """

    type: Literal["plate_strip_cycle"] = "plate_strip_cycle"
    plate: GalvanostaticStep
    plate_hold: PotentiostaticStep | None = Field(
        default=None,
        description="Goes on with the plating at a set potential, right after it: the "
        "constant-voltage end of a CC-CV charge.",
    )
    strip: GalvanostaticStep
    rest_s: float = Field(
        default=0.0, ge=0, description="Open circuit after each half-cycle, recorded, s."
    )
    cycles: int = Field(default=1, ge=1, description="Number of cycles.")
    first: Role = Field(default="plate", description="The half-cycle that comes first.")
    between: OpenCircuit | ImpedanceSpectrum | None = Field(
        default=None,
        discriminator="type",
        description="Runs after the first half-cycle and its rest, in every n-th cycle.",
    )
    between_every: int = Field(default=1, ge=1, description="n: in every how many-th cycle.")
    between_first: int = Field(
        default=1, ge=1, description="The cycle of these in which ``between`` runs first, from 1."
    )
    on_failure: OnFailure = None

    @model_validator(mode="before")
    @classmethod
    def _roles_follow_from_the_place(cls, data: object) -> object:
        if isinstance(data, dict):
            data = dict(data)
            for role in ("plate", "strip"):
                step = data.get(role)
                if isinstance(step, dict):
                    data[role] = {"type": "galvanostatic_step", "role": role, **step}
            hold = data.get("plate_hold")
            if isinstance(hold, dict):
                goes_on = {"role": "plate", "continues_half_cycle": True}
                data["plate_hold"] = {"type": "potentiostatic_step", **goes_on, **hold}
        return data

    @model_validator(mode="after")
    def _roles_agree(self) -> Self:
        for role in ("plate", "strip"):
            told = getattr(self, role).role
            if told != role:
                raise ValueError(f"the step under {role!r} has the role {told!r}")
        hold = self.plate_hold
        if hold is not None and (hold.role != "plate" or not hold.continues_half_cycle):
            raise ValueError(
                "the step under 'plate_hold' goes on with the plating: its role is plate, and "
                "continues_half_cycle is true"
            )
        return self

    @property
    def times_between(self) -> int:
        """Return how many of the cycles have the ``between`` step."""
        if self.between is None:
            return 0
        return len(range(self.between_first, self.cycles + 1, self.between_every))

    @property
    def halves(self) -> tuple[GalvanostaticStep, GalvanostaticStep]:
        """Return the two half-cycles in the order in which they run."""
        return (self.plate, self.strip) if self.first == "plate" else (self.strip, self.plate)

    def goes_on_with(
        self, half: GalvanostaticStep
    ) -> tuple[GalvanostaticStep | PotentiostaticStep, ...]:
        """Return the steps of a half-cycle: it, and the hold that goes on with it."""
        hold = self.plate_hold if half.role == "plate" else None
        return (half,) if hold is None else (half, hold)


ElementaryStep = (
    OpenCircuit
    | GalvanostaticStep
    | PotentiostaticStep
    | LinearSweep
    | CyclicVoltammetry
    | ImpedanceSpectrum
)
