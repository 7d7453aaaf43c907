"""The command line, each time in a process that is forked from this one, which has imported it.

What a command needs is imported when it runs; what most of them need is imported here, once.

Standard input is a socket. Each packet on it orders a process: in JSON its arguments, environment
and folder, with the descriptors of its standard output and standard error, and of a pipe on which
its number and, once it is over, its exit status are told.
"""

import json
import os
import selectors
import socket
import sys

import operando.analysis
import operando.catalog
import operando.configuration
import operando.history
import operando.live
import operando.resume
import operando.session  # noqa: F401
from operando import cli

ORDER_BYTES = 1 << 20
TOLD_BYTES = 16


def tell(pipe: int, number: int) -> None:
    os.write(pipe, f"{number:{TOLD_BYTES}d}".encode("ascii"))


def arguments_of_new_process(orders: socket.socket) -> list[str] | None:
    """Return in each process that was ordered, its arguments; in this one None, at the end."""
    selector = selectors.DefaultSelector()
    selector.register(orders, selectors.EVENT_READ)
    living: dict[int, tuple[int, int]] = {}  # by what stands for the process
    while True:
        for key, _ in selector.select():
            if key.fd in living:
                selector.unregister(key.fd)
                pid, told = living.pop(key.fd)
                tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                os.close(key.fd)
                continue
            packet, given, *_ = socket.recv_fds(orders, ORDER_BYTES, 3)
            if not packet:
                return None
            output, errors, told = given
            pid = os.fork()
            if pid == 0:
                selector.close()
                orders.close()
                nothing = os.open(os.devnull, os.O_RDONLY)
                for place, file in enumerate((nothing, output, errors)):
                    os.dup2(file, place)
                kept = [file for _, file in living.values()]
                for file in (nothing, *given, *living, *kept):
                    os.close(file)
                order = json.loads(packet)
                os.environ.clear()
                os.environ.update(order["environment"])
                os.chdir(order["folder"])
                return order["arguments"]
            tell(told, pid)
            os.close(output)
            os.close(errors)
            number = os.pidfd_open(pid)
            living[number] = (pid, told)
            selector.register(number, selectors.EVENT_READ)


if __name__ == "__main__":
    arguments = arguments_of_new_process(socket.socket(fileno=os.dup(0)))
    if arguments is not None:
        sys.exit(cli.main(arguments))
