"""Instruments that cannot be driven: a start line perhaps, and a folder in which files appear."""

from instruments.external.watched_folder import WatchedFolder

__all__ = ["WatchedFolder"]
