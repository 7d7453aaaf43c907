"""The script that a queue server runs to open a station; it lies alone (see `tickets`)."""
