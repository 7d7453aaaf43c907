"""Raman spectrometers: what the electrolyte and the film on the electrode are made of."""
