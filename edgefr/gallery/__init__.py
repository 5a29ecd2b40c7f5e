"""Enrolled people: galleries in encrypted files and databases, and 1:N identification."""
