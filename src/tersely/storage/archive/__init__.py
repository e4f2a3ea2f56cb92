"""Stored files: an index, blocks that are decoded each alone, and the original's own header among what is coded.

`index` says where the blocks are, `layout` what is in which of them, `texts` what is no tensor; `writer` and `reader`
are the file. FORMAT: docs/FORMAT.md, "Stored files".
"""
