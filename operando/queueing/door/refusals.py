"""Why the door does not do what it is asked."""

from collections.abc import Mapping


class RefusedError(Exception):
    """A request is refused; the message says why and what to do.

    Attributes:
        status: That of HTTP: 400 not as it should be, 401 who are you, 403 you may not or nobody
            may, 404 there is no such, 409 not now, 413 too long, 422 the arguments will not do,
            429 too often, 503 the station does not answer.
        headers: Sent along.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
