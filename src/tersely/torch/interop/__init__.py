"""Libraries that know nothing of codes: what they are given instead, and where their functions are wrapped for it."""
