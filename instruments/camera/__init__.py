"""Cameras: the microscope that watches the electrode."""
