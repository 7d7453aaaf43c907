"""A gas chromatograph whose sample is taken by a valve of its own before it is started."""

import logging
import threading
import time

from instruments.gas_chromatograph.contract import GasChromatograph, Injection
from instruments.sampling_valve import Position, SamplingValve

_log = logging.getLogger(__name__)


class ValvedGasChromatograph:
    """Fills a loop at one position of a valve, and turns it into the carrier just before a start.

    The valve rests where its loop fills. An injection turns it, starts the chromatograph, leaves
    the loop in the carrier for ``inject_s``, and turns it back, whatever happened in between. A
    valve that does not turn, or a chromatograph that is not ready, makes no injection.

    Args:
        chromatograph: started by other means.
        valve: connected by its owner.
        inject_position: where the loop is in the carrier; at the other one it fills.
        load_s: how long it fills at least where it had not rested there, s.
        inject_s: how long it stays in the carrier, s.
    """

    def __init__(
        self,
        chromatograph: GasChromatograph,
        valve: SamplingValve,
        *,
        inject_position: Position = "B",
        load_s: float = 10.0,
        inject_s: float = 1.0,
    ) -> None:
        self._chromatograph = chromatograph
        self._valve = valve
        self._inject: Position = inject_position
        self._load: Position = "A" if inject_position == "B" else "B"
        self._load_s = load_s
        self._inject_s = inject_s
        self._lock = threading.Lock()
        # A program that died in an injection leaves the loop in the carrier, where it is found.
        valve.rests_at(self._load)

    @property
    def verified_on(self) -> str | None:
        """Return when the chromatograph's driver was confirmed on hardware."""
        return self._chromatograph.verified_on

    def connect(self) -> None:
        """Ask both whether they are there; moves nothing."""
        self._valve.position()
        self._chromatograph.connect()

    def close(self) -> None:
        """Close the chromatograph; the valve is closed by its owner."""
        self._chromatograph.close()

    def identify(self) -> dict[str, str]:
        """Return who the chromatograph is, and where its valve is when."""
        valve = {f"valve_{key}": value for key, value in self._valve.identify().items()}
        positions = {"valve_load": self._load, "valve_inject": self._inject}
        return {**self._chromatograph.identify(), **valve, **positions}

    def clock_ahead_s(self) -> float | None:
        """Return how far the chromatograph's clock is ahead, s; ``None`` where it has none."""
        ask = getattr(self._chromatograph, "clock_ahead_s", None)
        ahead_s: float | None = None if ask is None else ask()
        return ahead_s

    def ready(self) -> bool:
        """Return whether a start would be obeyed now."""
        return self._chromatograph.ready()

    def inject(self, label: str = "") -> Injection:
        """Take a sample and start a run if the chromatograph is ready.

        ``host_before`` is when the valve was about to be turned. Blocks for the turns of the valve
        and ``inject_s`` longer than the chromatograph by itself, and ``load_s`` more if the loop
        had not been filling. Raises what the valve raises; nothing was started then.
        """
        with self._lock:
            if not self._chromatograph.ready():
                now = time.time()
                return Injection(False, False, now, time.time())
            if self._valve.position() != self._load:
                self._valve.go_to(self._load)
                time.sleep(self._load_s)
            before = time.time()
            try:
                self._valve.go_to(self._inject)
                injection = self._chromatograph.inject(label)
                if injection.ready:
                    time.sleep(self._inject_s)
            finally:
                self._valve.go_to(self._load)
            if not injection.ready:
                _log.warning(
                    "the gas chromatograph was ready no more when its valve had been turned: the "
                    "sample went into the carrier, and no run was started"
                )
        return injection._replace(host_before=before)

    def safe_state(self) -> None:
        """Leave the start open and the loop where it fills."""
        try:
            self._chromatograph.safe_state()
        finally:
            self._valve.safe_state()
