"""Checkpoints written by released versions, never made anew: every later version reads them."""
