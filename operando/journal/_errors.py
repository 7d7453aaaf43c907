"""What can go wrong with a journal."""


class JournalError(Exception):
    """A journal cannot be written, or a file is not a journal of ours.

    The message names the file, what the operating system said and what to do. Raised by the
    writer it is meant to stop the plan: an experiment that leaves no record is not worth its cell.
    """
