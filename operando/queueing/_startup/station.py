"""Opens the station of ``$OPERANDO_STATION`` in the worker of a queue server, which runs this."""

from operando.queueing.worker import open_station

globals().update(open_station())
