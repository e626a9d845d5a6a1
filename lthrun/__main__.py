"""`python -m lthrun`."""

from lthrun.cli import main

if __name__ == "__main__":
    main()
