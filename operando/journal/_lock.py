"""Whole-file locks that the operating system releases when their holder dies.

On POSIX the lock is ``flock``: it belongs to the open file, so it ends with the process, even
by ``kill -9``. Windows has no ``flock``; there one byte far behind the end of the file is locked
instead, which ends with the process too and keeps nobody from reading.
"""

import os
import sys
import time

if sys.platform == "win32":
    import msvcrt

    _FAR_BYTE = 1 << 40

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock of an open file without waiting; False if somebody else holds it."""
        position = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, _FAR_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBRLCK if shared else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, position, os.SEEK_SET)
        return True
else:
    import fcntl

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Take the lock of an open file without waiting; False if somebody else holds it."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def take_lock(fd: int, timeout_s: float) -> bool:
    """Take the lock of an open file, waiting for those who only ask; False after the timeout."""
    give_up = time.monotonic() + timeout_s
    while not try_lock(fd):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.002)
    return True


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Return whether some process holds the exclusive lock of a file.

    The question takes a shared lock for an instant, so that two who ask do not see each other.
    A file that does not exist is not locked.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(fd, shared=True)
    finally:
        os.close(fd)


_MARK = "user.operando.writer"


def mark_as_written_here(fd: int) -> None:
    """Mark an open file as one that its writer made, and not somebody who copies it.

    The mark is an extended attribute that names the file's inode: a copy has another one. Where
    there are no such attributes, there is no mark.
    """
    if sys.platform == "linux":
        try:
            os.setxattr(fd, _MARK, _inode(fd))
        except OSError:
            pass  # this file system has none


def is_written_here(fd: int) -> bool:
    """Return whether an open file carries its writer's mark."""
    if sys.platform == "linux":
        try:
            return os.getxattr(fd, _MARK) == _inode(fd)
        except OSError:
            return False
    return False


def _inode(fd: int) -> bytes:
    told = os.fstat(fd)
    return f"{told.st_dev} {told.st_ino}".encode()
