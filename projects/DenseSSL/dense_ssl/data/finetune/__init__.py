"""Loaders and mappers of labelled data."""
