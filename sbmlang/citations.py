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
    "kalman": """@article{kalman1960,
  title   = {A New Approach to Linear Filtering and Prediction Problems},
  author  = {Kalman, R. E.},
  journal = {Journal of Basic Engineering}, volume = {82}, number = {1}, pages = {35--45}, year = {1960}
}""",
    "extended": """@book{jazwinski1970,
  title     = {Stochastic Processes and Filtering Theory},
  author    = {Jazwinski, Andrew H.},
  publisher = {Academic Press}, year = {1970}
}""",
    "unscented": """@article{julier2004,
  title   = {Unscented Filtering and Nonlinear Estimation},
  author  = {Julier, Simon J. and Uhlmann, Jeffrey K.},
  journal = {Proceedings of the IEEE}, volume = {92}, number = {3}, pages = {401--422}, year = {2004}
}""",
    "forward": """@article{rabiner1989,
  title   = {A Tutorial on Hidden {Markov} Models and Selected Applications in Speech Recognition},
  author  = {Rabiner, Lawrence R.},
  journal = {Proceedings of the IEEE}, volume = {77}, number = {2}, pages = {257--286}, year = {1989}
}""",
    "particles": """@article{gordon1993,
  title   = {Novel Approach to Nonlinear/Non-{Gaussian} {Bayesian} State Estimation},
  author  = {Gordon, N. J. and Salmond, D. J. and Smith, A. F. M.},
  journal = {IEE Proceedings F}, volume = {140}, number = {2}, pages = {107--113}, year = {1993}
}""",
    "pmmh": """@article{andrieu2010,
  title   = {Particle {Markov} Chain {Monte} {Carlo} Methods},
  author  = {Andrieu, Christophe and Doucet, Arnaud and Holenstein, Roman},
  journal = {Journal of the Royal Statistical Society B}, volume = {72}, number = {3}, pages = {269--342}, year = {2010}
}""",
    "noncentred": """@article{papaspiliopoulos2007,
  title   = {A General Framework for the Parametrization of Hierarchical Models},
  author  = {Papaspiliopoulos, Omiros and Roberts, Gareth O. and Sk{\\"o}ld, Martin},
  journal = {Statistical Science}, volume = {22}, number = {1}, pages = {59--73}, year = {2007}
}""",
    "numba": """@inproceedings{lam2015numba,
  title     = {Numba: a {LLVM}-based {Python} {JIT} compiler},
  author    = {Lam, Siu Kwan and Pitrou, Antoine and Seibert, Stanley},
  booktitle = {Proceedings of the Second Workshop on the {LLVM} Compiler Infrastructure in {HPC}}, year = {2015}
}""",
}

_ENGINES = {
    "exact": ("kalman",),
    "forward": ("forward",),
    "gaussian": ("kalman",),
    "sampled": ("noncentred", "kalman"),
    "particle": ("particles", "pmmh"),
}


def references(solver: str | None) -> Iterator[str]:
    """BibTeX entries of what a program, its sampler and its diagnostics stand on; ``solver`` is
    ``Program.solver``: how its path is solved or treated, None without a path."""
    return (_ENTRIES[name] for name in ("jax", *_sampler(solver), "rhat", "arviz", *_path(solver)))


def _sampler(solver: str | None) -> tuple[str, ...]:
    by_particles = solver is not None and solver.startswith("particle")
    return ("numpyro",) if by_particles else ("numpyro", "nuts")


def _path(solver: str | None) -> Iterator[str]:
    if solver is None:
        return
    first = solver.split()[0]
    if first in _ENGINES:
        yield from _ENGINES[first]
        yield from (kind for kind in ("extended", "unscented") if kind in solver)
        if "native" in solver or first == "particle":
            yield "numba"
    elif first == "exponential":
        yield first
    else:
        yield from ("diffrax", first)
