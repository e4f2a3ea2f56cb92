"""The storage tier: files as small as can be, which are transcoded to runnable codes when they are loaded."""
