"""Files and folders: open, save, compress, decompress, verify, inspect."""
