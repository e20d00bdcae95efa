"""Hugging Face: trained models out as directories that serving engines load, published models in as a start."""
