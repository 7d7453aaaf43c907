"""The session, the record, and everything that reads event documents."""

__version__ = "0.1.0"
