"""Amortized inference: networks trained once on a model's own simulations, which then answer for any data.

``coordinates`` makes the prior exactly N(0, I), ``features`` turns data into a vector, a ``conditional`` learns the
law of the coordinates given that vector, ``correction`` moves its draws to the posterior that the model declares.
"""
