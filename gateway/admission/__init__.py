"""Letting requests in: see `admission` for the whole, and the others for its parts."""

from gateway.admission.admission import LEAST_PLACES, PLACE_BYTES, Admission, Place

__all__ = ["LEAST_PLACES", "PLACE_BYTES", "Admission", "Place"]
