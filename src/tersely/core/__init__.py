"""What everything else speaks in: shapes as matrices, element types, `Encoded`, errors, the environment.

Imports nothing of ours.
"""
