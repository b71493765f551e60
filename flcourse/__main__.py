"""`python -m flcourse` is the command `flcourse`."""

from flcourse.apps.cli import main

if __name__ == "__main__":
    main()
