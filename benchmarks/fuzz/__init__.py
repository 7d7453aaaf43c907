"""What reads what comes from outside, against frames that were damaged on their way."""
