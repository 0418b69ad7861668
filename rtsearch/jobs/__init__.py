"""Carry out what each command asks for: analyse, query, replay, demo, doctor."""
