"""Backends: each turns the symbolic model into a program of one array library."""
