"""What experiments share: how they ask a cell, and the steps they are made of."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from techniques._base import Data
from techniques.cell import Cell
from techniques.failure_policy import OnFailure
from techniques.limits import Limit
from techniques.recording import Recording
from techniques.reference import metal_vs_reference_v
from techniques.steps import (
    GalvanostaticStep,
    ImpedanceSpectrum,
    OpenCircuit,
    PlateStripCycle,
)

if TYPE_CHECKING:
    from techniques.technique import Technique

# Rows of a half-cycle where nothing changes, and the longest time between two of them, s.
_ROWS, _RAREST_S = 120, 60.0
# The spectrum of the papers.
SPECTRUM = ImpedanceSpectrum(
    amplitude_rms_v=0.005, frequency_max_hz=1e5, frequency_min_hz=0.1, points_per_decade=10
)
SPECTRUM_TOLD = "by default potentiostatic, 5 mV rms, 100 kHz to 0.1 Hz."
# The share by which a strip may exceed what is there before the program stops, %.
OVERRUN_PCT = 5.0
# A capacity and the inventory it is compared with are the same within rounding.
SAME = 1 + 1e-9


class UnsuitableCellError(ValueError):
    """An experiment cannot be run on this cell; the message says why and what to do."""


class Experiment(Data):
    """An experiment as it is described in a paper; what runs follows from the cell."""

    on_failure: OnFailure = None

    def program(self, cell: Cell) -> "Technique":
        """Return what runs on ``cell``, made of elementary steps, cycles and named parts.

        Raises UnsuitableCellError if the experiment makes no sense on it.
        """
        raise NotImplementedError

    def _unsuitable(self, cell: Cell, why: str) -> UnsuitableCellError:
        name = getattr(self, "type", type(self).__name__)
        return UnsuitableCellError(f"{name} cannot be run on cell {cell.cell_id!r}: {why}")

    # -- what cell it is

    def _need_metal_on_both(self, cell: Cell) -> None:
        self._need_no_cathode(cell)
        if cell.symmetric:
            return
        bare = [
            f"{name} ({electrode.material})"
            for name, electrode in (
                ("the working electrode", cell.working_electrode),
                ("the counter electrode", cell.counter_electrode),
            )
            if not cell.holds_metal(electrode)
        ]
        raise self._unsuitable(
            cell,
            f"it needs {cell.metal} on both electrodes, and {' and '.join(bare)} has none. Give "
            "metal or predeposited_mah_cm2 in the cell file if it has, or use half_cell_cycling",
        )

    def _need_half_cell(self, cell: Cell) -> None:
        self._need_no_cathode(cell)
        if cell.holds_metal(cell.electrode):
            raise self._unsuitable(
                cell,
                f"its strips end when the {cell.metal} of one plating is gone, and the "
                f"{cell.electrode.material} electrode holds {cell.metal} from the start: use "
                "symmetric_cycling, or a bare substrate",
            )
        if not cell.holds_metal(cell.other_electrode):
            raise self._unsuitable(
                cell, f"no electrode holds {cell.metal}, so there is nothing to plate from"
            )

    def _need_no_cathode(self, cell: Cell) -> None:
        if cell.full_cell:
            raise self._unsuitable(
                cell,
                f"opposite its metal electrode stands a cathode ({cell.other_electrode.material}): "
                "use full_cell_cycling",
            )

    def _need_full_cell(self, cell: Cell) -> None:
        if not cell.full_cell:
            raise self._unsuitable(
                cell,
                f"opposite its metal electrode stands no cathode: give active_mass_mg and "
                f"specific_capacity_mah_g of the {cell.other_electrode.material} electrode in the "
                "cell file, or use half_cell_cycling or symmetric_cycling",
            )
        if cell.reference_electrode is not None:
            raise self._unsuitable(
                cell,
                "its voltages are those between the two electrodes, and the potential would be "
                f"measured against the reference ({cell.reference_electrode}): connect it with two "
                "electrodes",
            )

    def _from_metal(self, cell: Cell, potential_v: float, name: str) -> float:
        """Return a potential told against the metal as one that the instrument measures, V.

        Without a reference electrode it is the same: the other electrode is the metal.

        Args:
            cell: Whose reference it is measured against.
            potential_v: Of the metal electrode against the metal of the experiment, V.
            name: The field that tells it, for the message.
        """
        if cell.reference_electrode is None:
            return potential_v
        if cell.metal_electrode == "CE":
            raise self._unsuitable(
                cell,
                f"{name} is a potential of the metal electrode, and with a reference electrode that"
                " of the working electrode is measured: hang the metal electrode on WE "
                "(metal_electrode in the cell file)",
            )
        metal_v = metal_vs_reference_v(cell)
        if isinstance(metal_v, str):
            raise self._unsuitable(cell, f"{name} is told against {cell.metal}: {metal_v}")
        return round(potential_v + metal_v, 6)

    def _above_metal(self, cell: Cell, potential_v: float, name: str) -> float:
        """Return a potential at which strips end as one that the instrument measures, V.

        As ``_from_metal``. One that is not above the metal's own would end each strip at once.
        """
        measured_v = self._from_metal(cell, potential_v, name)
        if potential_v > 0:
            return measured_v
        told = (
            f"{name} {potential_v:g} V is told against {cell.metal}, of which nothing is stripped "
            "at or below its own potential: strips would end as they begin"
        )
        meant_v = round(2 * potential_v - measured_v, 6)
        if meant_v > 0:
            told += f". If it was told against {cell.reference_electrode} it is {meant_v:g} V"
        raise self._unsuitable(cell, told)

    def _need_inventory(self, cell: Cell, charge_mah_cm2: float, *, plated_first: bool) -> None:
        """Refuse to move more metal than the electrode it comes from is known to hold."""
        donor = cell.other_electrode if plated_first else cell.electrode
        inventory = cell.inventory_mah_cm2(donor)
        if inventory is None:
            return
        inventory *= donor.area_cm2 / cell.area_cm2
        if charge_mah_cm2 > inventory * SAME:
            raise self._unsuitable(
                cell,
                f"{charge_mah_cm2:.4g} mAh/cm2 would be moved, and the {donor.material} electrode "
                f"it comes from holds {inventory:.4g} mAh/cm2 of {cell.metal} (by thickness_um and "
                "predeposited_mah_cm2 in the cell file)",
            )


def exactly_one(experiment: Experiment, *names: str) -> None:
    """Raise ValueError unless exactly one of these fields is given."""
    given = [name for name in names if getattr(experiment, name) is not None]
    if len(given) != 1:
        told = ", ".join(given) if given else "none of them"
        raise ValueError(f"give exactly one of {', '.join(names)}; got {told}")


def recording(expected_s: float) -> Recording:
    """Return when rows are recorded of a half-cycle of this length: some 200 of them."""
    dt_s = min(max(expected_s / _ROWS, 0.1), _RAREST_S)
    return Recording(
        dt_s=dt_s,
        de_v=0.002,
        edge_dt_s=min(1.0, dt_s),
        edge_for_s=min(60.0, expected_s / 10),
    )


def plate(
    current_density_ma_cm2: float,
    until: tuple[Limit, ...],
    record: Recording | None = None,
) -> GalvanostaticStep:
    """Return a plating step."""
    return _half_cycle("plate", current_density_ma_cm2, until, record)


def strip(
    current_density_ma_cm2: float,
    until: tuple[Limit, ...],
    record: Recording | None = None,
) -> GalvanostaticStep:
    """Return a stripping step."""
    return _half_cycle("strip", current_density_ma_cm2, until, record)


def _half_cycle(
    role: Literal["plate", "strip"],
    current_density_ma_cm2: float,
    until: tuple[Limit, ...],
    record: Recording | None,
) -> GalvanostaticStep:
    step = GalvanostaticStep(role=role, current_density_ma_cm2=current_density_ma_cm2, until=until)
    return step.model_copy(update={"record": record or recording(step.expected_s)})


def charge(value: float, action: Literal["next", "end_loop", "stop"] = "next") -> Limit:
    """Return the limit of a charge, mAh/cm2."""
    return Limit(quantity="charge_mah_cm2", value=value, action=action)


def strip_to_cut_off(
    current_density_ma_cm2: float,
    cut_off_v: float,
    available_mah_cm2: float,
    overrun_pct: float,
    record: Recording | None = None,
) -> GalvanostaticStep:
    """Return a strip that ends at a potential; one that never gets there stops the program.

    Args:
        current_density_ma_cm2: Magnitude.
        cut_off_v: Potential of the metal electrode, as the instrument measures it, V.
        available_mah_cm2: What there is to strip at most.
        overrun_pct: By how much more than that the charge may come to, %.
        record: When rows are recorded.
    """
    return strip(
        current_density_ma_cm2,
        (
            Limit(quantity="potential_above_v", value=cut_off_v),
            charge(available_mah_cm2 * (1 + overrun_pct / 100), "stop"),
        ),
        record,
    )


def rest(duration_s: float, record: Recording | None = None) -> list[OpenCircuit]:
    """Return an open circuit of that length; none for 0 s."""
    if duration_s <= 0:
        return []
    return [OpenCircuit(duration_s=duration_s, record=record or recording(duration_s))]


class Cycling(Experiment):
    """What all cycling of metal shares; no experiment by itself."""

    rest_s: float = Field(default=0.0, ge=0, description="Open circuit after each half-cycle, s.")
    between: OpenCircuit | ImpedanceSpectrum | None = Field(
        default=None,
        discriminator="type",
        description="Runs after the first half-cycle and its rest, in every n-th cycle.",
    )
    between_every: int = Field(default=1, ge=1, description="n: in every how many-th cycle.")
    record: Recording | None = Field(
        default=None, description="When rows are recorded; by default some 200 per half-cycle."
    )

    def _cycles(
        self,
        plating: GalvanostaticStep,
        stripping: GalvanostaticStep,
        cycles: int,
        first: Literal["plate", "strip"] = "plate",
    ) -> PlateStripCycle:
        return PlateStripCycle(
            plate=plating,
            strip=stripping,
            cycles=cycles,
            first=first,
            rest_s=self.rest_s,
            between=self.between,
            between_every=self.between_every,
        )
