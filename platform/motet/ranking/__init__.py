"""Calibration, value function, diversity, reasons."""
