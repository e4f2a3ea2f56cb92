"""The command line. One file per command; all of them call the public package only."""
