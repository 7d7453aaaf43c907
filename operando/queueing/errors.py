"""What can go wrong with stations and queues."""


class QueueError(Exception):
    """Something was asked of a station or its queue that cannot be; the message says what to do."""
