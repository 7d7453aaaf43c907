"""What can be broken at a simulated EmStat4 HR."""

from __future__ import annotations

from sim_devices.wire_faults import on_a_line

FAULTS = on_a_line(
    "an EmStat4",
    {
        "refuse": "refuses the next `count` (1) commands (!0006)",
        "clock-jump": "sets the timer that scripts read forward by `seconds` (60), back if "
        "negative",
        "out-of-range": "tells in the next `count` (1) packages `value` (1e9) as the variable of "
        "number `column` (0), in its unit; its file store has the right one",
        "power-cycle": "has no power for `seconds` (1): the cell is off, the script is over",
        "hold": "the clock of the bench all but stands still in the program that runs, or in the "
        "one that is begun `programs` later, until that ends or until `resume`; with `after_s` in "
        "the first of these, and those behind, that goes on for so many cell seconds, from then on",
        "file-store": "changes the file store: `present` (0: this firmware has none), `kilobytes` "
        "(what it holds), `held_bytes`, `error_when_full`",
    },
    {"wrong-checksum": "its lines have no checksum"},
)
