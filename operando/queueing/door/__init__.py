"""The door to a station's queue for other computers: bluesky-httpserver, with rules of ours."""
