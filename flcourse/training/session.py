"""One run of a training: how long it may take, what ends it early, and that no other writes into its folder."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flcourse.errors import CourseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


class Clock:
    """The time that a training has had, over all its sessions, and what is left of `minutes`."""

    def __init__(self, minutes: float, spent: float = 0.0, evaluation: float = 0.0) -> None:
        self.seconds = 60 * minutes
        self.evaluation = evaluation  # what the next one will take: the last one's time, s
        self._before, self._started = spent, time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds, of this session and of those before."""
        return self._before + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """The part of the training time that has passed: 1 when only the last evaluation fits in."""
        return min(1.0, self.spent / max(self.seconds - self.evaluation, 1e-9))

    def is_worth_another(self) -> bool:
        """Whether after an evaluation there is time for another one, and for more than a moment's training before."""
        return self.spent + 1.25 * self.evaluation < self.seconds


@contextlib.contextmanager
def graceful_end() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM (a batch system's) or SIGHUP (a lost terminal's) sets.

    The second one acts as usual. Outside the main thread, which alone receives signals, nothing is changed.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    ours = {n: handler for n, handler in before.items() if handler not in (None, signal.SIG_IGN)}  # not nohup's SIGHUP

    def restore() -> None:
        for number, handler in ours.items():
            signal.signal(number, handler)

    def handle(number: int, frame: object) -> None:
        asked.set()
        restore()

    for number in ours:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        restore()


@contextlib.contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Hold a training's folder for its life, making it where need be; the system lets go when the process ends.

    Raises `CourseError` where another training holds it, or where it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        # POSIX locks the folder itself; Windows opens no folders.
        path = out if fcntl else out / ".lock"
        handle = os.open(path, os.O_RDONLY if fcntl else os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise CourseError(f"{out}: {error.strerror or error}, expected a folder to write a training to") from error
    try:
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except (BlockingIOError, PermissionError) as error:
            raise CourseError(
                f"{out}: another training is writing there; wait for its end, or give another folder (--out)"
            ) from error
        except OSError:  # some network folders cannot be locked
            pass
        yield
    finally:
        os.close(handle)
        if not fcntl:
            with contextlib.suppress(OSError):
                path.unlink()
