"""What several plugins share: what stands around a layer, what may be replaced, calibration, spans."""
