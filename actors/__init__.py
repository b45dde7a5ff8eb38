"""Actors: the protocol they speak, the kernel that runs them, and the coordinator."""
