"""What can go wrong with stations and queues."""


class QueueError(Exception):
    """Something was asked of a station or its queue that cannot be; the message says what to do."""


class NotKnownError(QueueError):
    """Nobody says whether what was asked of a queue was done: it may have been."""


class GoneError(QueueError):
    """An item is not in its queue any more."""
