"""Measurements of a whole federation on one machine: scripts that print and write what they saw, and assert nothing."""
