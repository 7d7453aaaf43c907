"""The other side of the wire: simulated instruments that speak the real instruments' protocols.

One process holds one cell (`sim_devices.cell`), one clock (`sim_devices.clock`) and several
instruments that listen on real pseudo-terminals, sockets and folders. Nothing here imports the
product, and the product never imports this: the two sides meet only as bytes. Start it with
``python -m sim_devices --help``.
"""
