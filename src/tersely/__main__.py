"""`python -m tersely`: the command line."""

from tersely.cli.__main__ import main

if __name__ == "__main__":
    main()
