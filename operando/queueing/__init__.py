"""Unattended work: stations, their queues, who keeps them running and who is told."""
