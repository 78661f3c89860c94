"""Trailers: shots of a video, and the experts that look at them and listen to them."""
