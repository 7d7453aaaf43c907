"""Bluesky plans a bench scientist calls."""
