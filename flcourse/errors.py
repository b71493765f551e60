"""The one error that means: the input was bad, and this line tells the user what to do about it."""


class CourseError(Exception):
    """Bad input. The message is one line naming the file or value, what was expected and what to do.

    The command line prints it without a traceback and exits with code 2.
    """


def not_installed(what: str, package: str, extra: str) -> CourseError:
    """The error of something whose package comes only with an extra (`course` or `app`) of the light base package."""
    where = f'in the course\'s folder: python3 course.py setup, or pip install ".[{extra}]"'
    return CourseError(f"{what} needs {package}, which is not installed; {where}")
