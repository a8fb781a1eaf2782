"""The model of examples/lynx_hare/model.sbm as a numpyro user would write it, with diffrax."""

import diffrax
import jax.numpy as jnp
import numpyro
from numpyro.distributions import LogNormal, TruncatedNormal


def model(years, pelts, tolerance, adjoint):
    """``years`` (time,) since the start, ``pelts`` (time, 2)."""
    alpha = numpyro.sample("alpha", TruncatedNormal(1, 0.5, low=0))
    beta = numpyro.sample("beta", TruncatedNormal(0.05, 0.05, low=0))
    gamma = numpyro.sample("gamma", TruncatedNormal(1, 0.5, low=0))
    delta = numpyro.sample("delta", TruncatedNormal(0.05, 0.05, low=0))
    start = numpyro.sample("start", LogNormal(jnp.log(10.0), 1).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", LogNormal(-1, 1).expand([2]).to_event(1))

    def drift(t, x, args):
        return jnp.stack([(alpha - beta * x[1]) * x[0], (delta * x[0] - gamma) * x[1]])

    path = diffrax.diffeqsolve(
        diffrax.ODETerm(drift), diffrax.Tsit5(), t0=0.0, t1=years[-1], dt0=None, y0=start,
        saveat=diffrax.SaveAt(ts=years), stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        adjoint=adjoint, throw=False,
    ).ys  # fmt: skip
    numpyro.sample("pelts", LogNormal(jnp.log(path), sigma).to_event(2), obs=pelts)
