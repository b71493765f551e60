"""Figures stay with the cell that draws them, also while widgets beside it are at work.

IPython shows and closes all of pyplot's figures after each cell, and after each message of a widget (`comm` says so to
it). JupyterLab has those messages handled in a thread of their own. So while a camera was on, a figure that a cell had
begun was shown half drawn, below the camera's cell or nowhere, and the cell's `plt.show()` had nothing left to show.
"""

import threading

from IPython import get_ipython
from matplotlib_inline import backend_inline

_flush_figures = backend_inline.flush_figures


def flush_figures_of_the_cell() -> None:
    """What IPython does after a cell, but in the thread that runs cells only."""
    if threading.current_thread() is threading.main_thread():
        _flush_figures()


def keep_figures_in_their_cells() -> None:
    """Let no widget's message take a cell's figures; without IPython, and the second time, there is nothing to do."""
    shell = get_ipython()
    if shell is None or backend_inline.flush_figures is flush_figures_of_the_cell:
        return
    backend_inline.flush_figures = flush_figures_of_the_cell  # what is registered where pyplot comes only later
    if _flush_figures in shell.events.callbacks["post_execute"]:
        shell.events.unregister("post_execute", _flush_figures)
        shell.events.register("post_execute", flush_figures_of_the_cell)
