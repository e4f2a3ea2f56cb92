"""`python -m laconic`: the command line."""

from laconic.cli.__main__ import main

if __name__ == "__main__":
    main()
