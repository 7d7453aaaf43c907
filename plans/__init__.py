"""Bluesky plans a bench scientist calls."""

from plans.resume import continue_plating_stripping
from plans.synchronised import operando_plating_stripping

__all__ = ["continue_plating_stripping", "operando_plating_stripping"]
