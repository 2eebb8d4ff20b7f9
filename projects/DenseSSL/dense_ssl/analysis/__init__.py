"""Probes of a frozen backbone."""
