"""The data-redundancy probe: how many pixels can be taken away before a network learns less (document S0, stage 1)."""
