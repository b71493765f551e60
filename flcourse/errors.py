"""The one error that means: the input was bad, and this line tells the user what to do about it."""


class CourseError(Exception):
    """Bad input. The message is one line naming the file or value, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """
