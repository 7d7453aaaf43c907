"""Drivers of other people, each asking an instrument at an address; for the peers' interpreter."""
