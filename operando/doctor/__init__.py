"""A support bundle: what somebody elsewhere needs to see to help with a bench, and no secret."""

from operando.doctor._bundle import Bundle, DoctorError, write_bundle
from operando.doctor._masking import Mask, known_secrets

__all__ = ["Bundle", "DoctorError", "Mask", "known_secrets", "write_bundle"]
