"""From torch.export to `tersely.graph`, and back for what the executor does not have."""
