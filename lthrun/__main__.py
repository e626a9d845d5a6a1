"""`python -m lthrun`."""

from lthrun.cli.app import main

if __name__ == "__main__":
    main()
