"""Level `max` of the storage tier: every bit predicted from several contexts, their predictions mixed."""
