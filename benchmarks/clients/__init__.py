"""Drivers of other people against our simulated instruments, and the maker's grammar of scripts."""
