"""References of the methods that programs use, as BibTeX, found by where they are used."""

from __future__ import annotations

from collections.abc import Iterator

_ENTRIES = {
    "numpyro": """@article{phan2019numpyro,
  title   = {Composable Effects for Flexible and Accelerated Probabilistic Programming in {NumPyro}},
  author  = {Phan, Du and Pradhan, Neeraj and Jankowiak, Martin},
  journal = {arXiv preprint arXiv:1912.11554},
  year    = {2019}
}""",
    "jax": """@software{jax2018,
  title  = {{JAX}: composable transformations of {Python}+{NumPy} programs},
  author = {Bradbury, James and Frostig, Roy and Hawkins, Peter and Johnson, Matthew James and others},
  year   = {2018}
}""",
    "nuts": """@article{hoffman2014nuts,
  title   = {The {No-U-Turn} Sampler: Adaptively Setting Path Lengths in {Hamiltonian} {Monte} {Carlo}},
  author  = {Hoffman, Matthew D. and Gelman, Andrew},
  journal = {Journal of Machine Learning Research},
  volume  = {15}, pages = {1593--1623}, year = {2014}
}""",
    "rhat": """@article{vehtari2021rhat,
  title   = {Rank-Normalization, Folding, and Localization: An Improved {R-hat} for Assessing Convergence of {MCMC}},
  author  = {Vehtari, Aki and Gelman, Andrew and Simpson, Daniel and Carpenter, Bob and B{\\"u}rkner, Paul-Christian},
  journal = {Bayesian Analysis}, volume = {16}, number = {2}, pages = {667--718}, year = {2021}
}""",
    "arviz": """@article{kumar2019arviz,
  title   = {{ArviZ} a unified library for exploratory analysis of {Bayesian} models in {Python}},
  author  = {Kumar, Ravin and Carroll, Colin and Hartikainen, Ari and Martin, Osvaldo},
  journal = {Journal of Open Source Software}, volume = {4}, number = {33}, pages = {1143}, year = {2019}
}""",
    "diffrax": """@phdthesis{kidger2021on,
  title  = {{On Neural Differential Equations}},
  author = {Kidger, Patrick},
  school = {University of Oxford}, year = {2021}
}""",
    "explicit": """@article{tsitouras2011,
  title   = {{Runge--Kutta} pairs of order 5(4) satisfying only the first column simplifying assumption},
  author  = {Tsitouras, Ch.},
  journal = {Computers \\& Mathematics with Applications}, volume = {62}, pages = {770--775}, year = {2011}
}""",
    "implicit": """@article{kvaerno2004,
  title   = {Singly diagonally implicit {Runge--Kutta} methods with an explicit first stage},
  author  = {Kv{\\ae}rn{\\o}, Anne},
  journal = {BIT Numerical Mathematics}, volume = {44}, pages = {489--502}, year = {2004}
}""",
    "exponential": """@article{almohy2011,
  title   = {Computing the Action of the Matrix Exponential, with an Application to Exponential Integrators},
  author  = {Al-Mohy, Awad H. and Higham, Nicholas J.},
  journal = {SIAM Journal on Scientific Computing}, volume = {33}, pages = {488--511}, year = {2011}
}""",
}


def references(solver: str | None) -> Iterator[str]:
    """BibTeX entries of what a program, its sampler and its diagnostics stand on; ``solver`` of its path."""
    used = ["jax", "numpyro", "nuts", "rhat", "arviz"]
    if solver is not None:
        method = solver.split()[0]
        used += [method] if method == "exponential" else ["diffrax", method]
    return (_ENTRIES[name] for name in used)
