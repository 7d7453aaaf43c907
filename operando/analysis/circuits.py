"""Equivalent circuits: told as text, evaluated with their derivatives, fitted to a spectrum."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from operando.runs import Floats

Complex = NDArray[np.complexfloating]
# What an element gives: its impedance, and by parameter the derivative with respect to the
# parameter's logarithm; an exponent's is with respect to the exponent itself.
Response = tuple[Complex, list[Complex]]
# The exponent of a constant phase element, between a semi-infinite diffusion and a capacitor.
EXPONENT = (0.5, 1.0)
# Logarithms of parameters stay within this, so that what a spectrum does not hold cannot overflow.
_FARTHEST_LOG = 100.0


class CircuitError(ValueError):
    """A circuit is not written as one, or cannot be fitted; the message says why."""


@dataclass(frozen=True)
class Element:
    """One kind of element.

    Attributes:
        parameters: Name and unit of each parameter; ``a`` is an exponent between 0.5 and 1.
        respond: From j omega (1/s) and the parameters to impedance and derivatives.
    """

    parameters: tuple[tuple[str, str], ...]
    respond: Callable[[Complex, Sequence[float]], Response]


def _resistor(jw: Complex, values: Sequence[float]) -> Response:
    z = np.full(jw.shape, values[0], dtype=np.complex128)
    return z, [z]


def _capacitor(jw: Complex, values: Sequence[float]) -> Response:
    z = 1 / (jw * values[0])
    return z, [-z]


def _inductor(jw: Complex, values: Sequence[float]) -> Response:
    z = jw * values[0]
    return z, [z]


def _constant_phase(jw: Complex, values: Sequence[float]) -> Response:
    logarithm = np.log(jw)
    z = np.asarray(np.exp(-values[1] * logarithm) / values[0], dtype=np.complex128)
    return z, [-z, -z * logarithm]


def _warburg(jw: Complex, values: Sequence[float]) -> Response:
    z = np.asarray(values[0] * math.sqrt(2.0) / np.sqrt(jw), dtype=np.complex128)
    return z, [z]


def _warburg_short(jw: Complex, values: Sequence[float]) -> Response:
    s = np.sqrt(jw * values[1])
    tangent = np.tanh(s)
    z = values[0] * tangent / s
    return z, [z, 0.5 * (values[0] * (1 - tangent**2) - z)]


def _warburg_open(jw: Complex, values: Sequence[float]) -> Response:
    s = np.sqrt(jw * values[1])
    cotangent = 1 / np.tanh(s)
    z = values[0] * cotangent / s
    return z, [z, 0.5 * (values[0] * (1 - cotangent**2) - z)]


ELEMENTS: Mapping[str, Element] = MappingProxyType(
    {
        "R": Element((("R", "ohm"),), _resistor),
        "C": Element((("C", "F"),), _capacitor),
        "L": Element((("L", "H"),), _inductor),
        "CPE": Element((("Q", "F s^(a-1)"), ("a", "1")), _constant_phase),
        "W": Element((("sigma", "ohm s^-1/2"),), _warburg),
        "Ws": Element((("R", "ohm"), ("tau", "s")), _warburg_short),
        "Wo": Element((("R", "ohm"), ("tau", "s")), _warburg_open),
    }
)

_Node = Callable[[Complex, Sequence[float]], Response]


@dataclass(frozen=True)
class Circuit:
    """An equivalent circuit of elements in series (``-``) and in parallel (``p(…,…)``).

    ``Circuit.parse("R0-p(R1,CPE1)-Ws1")`` is a resistor, an arc and a finite-length Warburg
    element. Elements are a kind and a number: R (ohm), C (F), L (H), CPE with
    Z = 1/(Q (jw)^a), W with Z = sigma (1 - j)/sqrt(w), Ws with Z = R tanh(s)/s (diffusion through
    a layer to where the concentration is fixed, "short"), Wo with Z = R coth(s)/s (to a wall,
    "open"), s = sqrt(jw tau).

    Attributes:
        text: The circuit as it was written, without spaces.
        names: Every parameter in the order of ``text``: ``R0``, ``CPE1_Q``, ``CPE1_a``, ``Ws1_R``.
        units: Its unit.
    """

    text: str
    names: tuple[str, ...]
    units: tuple[str, ...]
    _respond: _Node = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> "Circuit":
        """Return the circuit that ``text`` tells; raises CircuitError if it tells none."""
        return _parsed(re.sub(r"\s", "", text))

    @property
    def exponents(self) -> NDArray[np.bool_]:
        """Return which parameters are exponents of constant phase elements."""
        return np.array([name.endswith("_a") for name in self.names])

    def impedance_ohm(self, frequency_hz: Floats, values: Sequence[float] | Floats) -> Complex:
        """Return the impedance, ohm, by frequency; ``values`` in the order of ``names``."""
        if len(values) != len(self.names):
            raise CircuitError(
                f"{self.text} has {len(self.names)} parameters ({', '.join(self.names)}), "
                f"{len(values)} values were given"
            )
        jw = 2j * np.pi * np.asarray(frequency_hz, dtype=np.float64)
        return self._respond(jw, [float(value) for value in values])[0]

    def response(self, jw: Complex, values: Sequence[float]) -> Response:
        """Return impedance and derivatives, the latter with respect to logarithms (a: to a)."""
        return self._respond(jw, values)


@cache
def _parsed(text: str) -> Circuit:
    names: list[str] = []
    units: list[str] = []
    node, end = _series(text, 0, names, units)
    if end != len(text):
        raise CircuitError(f"the circuit {text!r} cannot be read from {text[end:]!r} on")
    if len(set(names)) < len(names):
        raise CircuitError(f"the circuit {text!r} names an element twice")
    return Circuit(text, tuple(names), tuple(units), node)


def _series(text: str, at: int, names: list[str], units: list[str]) -> tuple[_Node, int]:
    parts: list[tuple[_Node, int]] = []
    while True:
        first = len(names)
        node, at = _one(text, at, names, units)
        parts.append((node, len(names) - first))
        if not text.startswith("-", at):
            break
        at += 1
    if len(parts) == 1:
        return parts[0][0], at

    def respond(jw: Complex, values: Sequence[float]) -> Response:
        total: Complex = np.zeros_like(jw)
        derivatives: list[Complex] = []
        begin = 0
        for part, count in parts:
            z, by_value = part(jw, values[begin : begin + count])
            begin += count
            total = total + z
            derivatives += by_value
        return total, derivatives

    return respond, at


def _one(text: str, at: int, names: list[str], units: list[str]) -> tuple[_Node, int]:
    if not text.startswith("p(", at):
        return _element(text, at, names, units)
    begin, at = at, at + 2
    branches: list[tuple[_Node, int]] = []
    while True:
        first = len(names)
        node, at = _series(text, at, names, units)
        branches.append((node, len(names) - first))
        if not text.startswith(",", at):
            break
        at += 1
    if not text.startswith(")", at) or len(branches) < 2:
        raise CircuitError(f"the circuit {text!r} has no parallel branches in {text[begin:]!r}")

    def respond(jw: Complex, values: Sequence[float]) -> Response:
        told: list[Response] = []
        begin = 0
        admittance: Complex = np.zeros_like(jw)
        for branch, count in branches:
            told.append(branch(jw, values[begin : begin + count]))
            begin += count
            admittance = admittance + 1 / told[-1][0]
        z = 1 / admittance
        derivatives: list[Complex] = []
        for branch_z, by_value in told:
            share = (z / branch_z) ** 2
            derivatives += [share * one for one in by_value]
        return z, derivatives

    return respond, at + 1


def _element(text: str, at: int, names: list[str], units: list[str]) -> tuple[_Node, int]:
    found = re.compile(r"([A-Za-z]+)(\d+)").match(text, at)
    if found is None or found[1] not in ELEMENTS:
        raise CircuitError(
            f"the circuit {text!r} has no element at {text[at:]!r}: elements are "
            f"{', '.join(ELEMENTS)}, each with a number, joined by - or within p(...,...)"
        )
    element = ELEMENTS[found[1]]
    for name, unit in element.parameters:
        names.append(found[0] if len(element.parameters) == 1 else f"{found[0]}_{name}")
        units.append(unit)
    return element.respond, found.end()


@dataclass(frozen=True)
class Parameter:
    """One fitted parameter.

    Attributes:
        name: As in `Circuit.names`.
        value: Its value.
        uncertainty: Standard error; infinite where the spectrum does not determine it.
        unit: Its unit.
    """

    name: str
    value: float
    uncertainty: float
    unit: str


@dataclass(frozen=True)
class CircuitFit:
    """A circuit fitted to a spectrum.

    Attributes:
        circuit: The circuit.
        values: Its parameters, in the order of ``circuit.names``.
        covariance: Of the logarithms of the parameters (of exponents: of themselves), scaled with
            the residuals found.
        chi2_reduced: Sum of squared relative residuals over degrees of freedom.
        criterion: Bayesian information criterion; the lower of two circuits is preferred.
        evaluations: How often the circuit was evaluated.
    """

    circuit: Circuit
    values: tuple[float, ...]
    covariance: Floats = field(compare=False)
    chi2_reduced: float
    criterion: float
    evaluations: int

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Return every parameter with its standard error."""
        errors = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        scale = np.where(self.circuit.exponents, 1.0, self.values)
        told = zip(self.circuit.names, self.values, errors * scale, self.circuit.units, strict=True)
        return tuple(Parameter(name, value, float(u), unit) for name, value, u, unit in told)

    def impedance_ohm(self, frequency_hz: Floats) -> Complex:
        """Return the fitted circuit's impedance, ohm, by frequency."""
        return self.circuit.impedance_ohm(frequency_hz, self.values)


# The floor keeps the criterion finite on spectra without noise.
_SMALLEST_MEAN_SQUARE = 1e-16


def fit_circuit(
    circuit: Circuit | str,
    frequency_hz: Floats,
    impedance_ohm: Complex,
    start: Sequence[float],
    *,
    weighting: Literal["modulus", "unit"] = "modulus",
    evaluations: int = 400,
) -> CircuitFit:
    """Fit a circuit to a spectrum by least squares.

    The logarithms of the parameters are fitted with analytic derivatives (Levenberg-Marquardt,
    MINPACK), so that all stay positive; exponents stay between 0.5 and 1.

    Args:
        circuit: The circuit, or its text.
        frequency_hz: Frequencies, Hz.
        impedance_ohm: Impedance, ohm, negative imaginary when capacitive.
        start: Values to begin with, in the order of ``Circuit.names``.
        weighting: Residuals over ``|Z|``, or as they are; chi2_reduced is then in ohm^2.
        evaluations: How often the circuit is evaluated at most.

    Raises:
        CircuitError: The circuit or its start is wrong, there are too few points, or none of the
            steps leads anywhere.
    """
    from scipy.optimize import leastsq

    circuit = Circuit.parse(circuit) if isinstance(circuit, str) else circuit
    values = np.asarray(start, dtype=np.float64)
    if values.shape != (len(circuit.names),) or not np.all(values > 0):
        raise CircuitError(
            f"{circuit.text} needs a positive start for each of {', '.join(circuit.names)}"
        )
    points = 2 * len(frequency_hz)
    if points <= len(values) + 2:
        raise CircuitError(
            f"{len(frequency_hz)} points are too few for the {len(values)} parameters of "
            f"{circuit.text}"
        )
    jw = 2j * np.pi * np.asarray(frequency_hz, dtype=np.float64)
    magnitude = np.abs(impedance_ohm)
    weight = 1 / magnitude if weighting == "modulus" else np.ones_like(magnitude)
    exponents = circuit.exponents
    middle, half = 0.5 * (EXPONENT[1] + EXPONENT[0]), 0.5 * (EXPONENT[1] - EXPONENT[0])
    # The last evaluation: the solver asks for residuals, then for derivatives at the same place.
    last: dict[bytes, tuple[Floats, Response]] = {}

    def told(x: Floats) -> tuple[Floats, Response]:
        key = x.tobytes()
        if key not in last:
            inside = np.clip(x, -_FARTHEST_LOG, _FARTHEST_LOG)
            natural = np.where(exponents, middle + half * np.sin(x), np.exp(inside))
            last.clear()
            last[key] = natural, circuit.response(jw, natural.tolist())
        return last[key]

    def residual(x: Floats) -> Floats:
        difference = (told(x)[1][0] - impedance_ohm) * weight
        return np.concatenate((difference.real, difference.imag))

    def slopes(natural_derivatives: list[Complex]) -> Floats:
        scaled = np.asarray(natural_derivatives) * weight
        return np.concatenate((scaled.real, scaled.imag), axis=1)

    def jacobian(x: Floats) -> Floats:
        rows = slopes(told(x)[1][1])
        rows[exponents] *= half * np.cos(x[exponents])[:, None]
        return rows

    x0 = np.where(
        exponents,
        np.arcsin(np.clip((values - middle) / half, -0.99, 0.99)),
        np.log(values),
    )
    with np.errstate(all="ignore"):
        found, _, info, _, flag = leastsq(
            residual,
            x0,
            Dfun=jacobian,
            col_deriv=True,
            full_output=True,
            maxfev=evaluations,
            ftol=1e-10,
            xtol=1e-9,
        )
        natural, (_, derivatives) = told(found)
        rest = residual(found)
        chi2 = float(rest @ rest)
    if flag == 0 or not math.isfinite(chi2):
        raise CircuitError(f"{circuit.text} could not be fitted")
    reduced = chi2 / (points - len(values))
    covariance = _inverse(slopes(derivatives)) * reduced
    mean_square = max(chi2 / points, _SMALLEST_MEAN_SQUARE)
    criterion = points * math.log(mean_square) + len(values) * math.log(points)
    told_values = tuple(float(value) for value in natural)
    return CircuitFit(circuit, told_values, covariance, reduced, criterion, int(info["nfev"]))


def _inverse(slopes: Floats) -> Floats:
    """Return (J^T J)^-1 of derivatives by row; infinite variances where a row is nothing.

    Combinations that the rows hardly determine get a huge variance rather than none.
    """
    scale = np.sqrt(np.sum(slopes**2, axis=1))
    known = scale > 1e-9 * max(float(scale.max()), 1e-300)
    scaled = slopes[known] / scale[known, None]
    strength, directions = np.linalg.eigh(scaled @ scaled.T)
    strength = np.maximum(strength, 1e-13 * float(strength[-1]))
    part = (directions / strength) @ directions.T
    inverse = np.zeros((len(slopes), len(slopes)))
    inverse[np.ix_(known, known)] = part / np.outer(scale[known], scale[known])
    inverse[~known, ~known] = math.inf
    return inverse
