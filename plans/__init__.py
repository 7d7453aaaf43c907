"""Bluesky plans a bench scientist calls."""

from plans.synchronised import operando_plating_stripping

__all__ = ["operando_plating_stripping"]
