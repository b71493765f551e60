"""ONNX Runtime, for every network of the using wing: how its sessions are opened and how many threads they take."""

from pathlib import Path

import onnxruntime

from flcourse.errors import CourseError
from flcourse.files import cpu_count

# A program that imported onnxruntime before flcourse did so without the variable that `flcourse` sets.
onnxruntime.disable_telemetry_events()

MOST_THREADS = 4  # by estimate: a crop's maps are small; on an idle machine two threads are 1.8 times as fast as one


def default_threads() -> int:
    """One thread for each CPU that this process may use, at most `MOST_THREADS`."""
    return min(cpu_count(), MOST_THREADS)


def open_session(path: Path, threads: int | None = None) -> onnxruntime.InferenceSession:
    """A session of the network in an `.onnx` file, on the CPU; `threads` is by default `default_threads()`.

    Threads may call `run` of one session at the same time. A session can be neither pickled nor copied: keep the path,
    and open it again. Raises `CourseError` where the file cannot be read or is no network.
    """
    try:
        data = path.read_bytes()  # by Python, so that no path is too strange for Windows
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror or error}, expected an ONNX network") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings would reach the user
    options.intra_op_num_threads = threads or default_threads()
    # Else its threads go on spinning after each run, and take a whole CPU from the browser, the camera and detection:
    # 32 ms of CPU a run at 25 runs/s, where 8 do the work in the same time (two cores, two threads).
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises exceptions of several classes that it does not export
        raise CourseError(f"{path}: truncated, or not an ONNX network; not loaded") from error
