"""Native kernels: straight-line scalar programs from symbolic steps, the loops around them, and their cache.

The only importer of numba. Nothing is loaded here, so that importing the package stays light.
"""
