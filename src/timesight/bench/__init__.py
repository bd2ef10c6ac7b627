"""Measuring speed and memory; figures are printed, nothing fails by the clock."""
