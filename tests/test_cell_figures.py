"""A cell's figures while a widget's messages come in another thread, as in JupyterLab."""

import subprocess
import sys

PROGRAM = """
import threading
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.enable_gui = lambda gui=None: None
FIRST
shown = []
shell.display_pub.publish = lambda data, *args, **kwargs: shown.append(sorted(data))

def a_message_comes():  # what comm does about each message of a widget
    shell.events.trigger("pre_execute")
    shell.events.trigger("post_execute")

shell.user_ns["a_message_comes"] = a_message_comes
shell.run_cell('''
import threading
import matplotlib.pyplot as plt
figure, ax = plt.subplots()
thread = threading.Thread(target=a_message_comes)
thread.start()
thread.join()
still = plt.fignum_exists(figure.number)
''')
print("kept", shell.user_ns["still"], "shown", len([data for data in shown if "image/png" in data]))
"""
PYPLOT = 'shell.run_line_magic("matplotlib", "inline")'
OURS = "from flcourse.show.cell_figures import keep_figures_in_their_cells as keep; keep(); keep()"


def run(*first):
    program = PROGRAM.replace("FIRST", "\n".join(first))
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_message_of_a_widget_takes_no_figure_of_the_cell_that_runs():
    assert run(PYPLOT, OURS) == run(OURS, PYPLOT) == "kept True shown 1"  # without ours: kept False
