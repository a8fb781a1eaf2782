"""The command that shows what priors imply."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sbmlang.cli.app import app
from sbmlang.cli.files import ModelFile, Seed, dataset, loaded
from sbmlang.cli.fits import draw
from sbmlang.cli.show import number
from sbmlang.cli.table import MEANING, Column, print_table
from sbmlang.driver import Model


@app.command()
def priors(
    file: ModelFile,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw the prior-predictive envelope into this folder."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Data with times, members and forcings for the envelope."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, metavar="N", help="Prior draws for hierarchical priors and the envelope.")
    ] = 2000,
    seed: Seed = 0,
) -> None:
    """Show what each prior implies: mean, sd, quantiles."""
    model = loaded(file)
    rows = [[p.name, p.unit.text, *_prior_row(model, p, draws, seed), p.doc] for p in model.ir.parameters]
    print_table(f"priors of {model.name}", _PRIOR_COLUMNS, rows)
    if plot is not None:
        program = model.compile("jax")
        tree = program.simulate(dataset(model, data, [], plan=True), draws=min(draws, 500), seed=seed)
        draw(tree, plot, ["prior_fit"])


_PRIOR_COLUMNS = (
    Column("parameter", left=True), Column("unit", left=True), Column("mean"), Column("sd"), Column("5%"),
    Column("25%", spare=2), Column("50%"), Column("75%", spare=1), Column("95%"), MEANING,
)  # fmt: skip
_SUMMARY = ("mean", "sd", "q05", "q25", "q50", "q75", "q95")


def _prior_row(model: Model, p: Any, draws: int, seed: int) -> list[str]:
    """Exact from the law where its arguments are numbers, else from prior draws."""
    from sbmlang.library.family import constants
    from sbmlang.library.quantiles import margins, summary

    if (
        p.law is not None
        and not _is_vector(p.law.family)
        and all(constants(v) is not None for v in p.law.args.values())
    ):
        found = summary(p.law.family, p.law.args)
    else:
        joint = next((j for j in model.ir.joints if p.name in j.members), None)
        if joint is not None and all(constants(v) is not None for v in joint.law.args.values()):
            name, args = margins(joint.law.family, joint.law.args)[joint.members.index(p.name)]
            found = summary(name, args)
        else:
            found = _from_draws(model, p.name, draws, seed)
    return [number(found[k]) for k in _SUMMARY]


def _is_vector(family: str) -> bool:
    from sbmlang.library.distributions import DISTRIBUTIONS

    return DISTRIBUTIONS[family].event_rank > 0


def _from_draws(model: Model, name: str, draws: int, seed: int) -> dict[str, float]:
    """Moments and quantiles over draws (and members) of a prior that depends on other parameters."""
    import numpy as np

    from sbmlang.data.empty import empty

    sizes = {d.name: 1 for d in model.ir.dims.values() if d.size is None}
    program: Any = model.compile("jax")
    nowhere = empty(model.ir, grid=[model.ir.time.start], sizes=sizes)
    values = np.ravel(program.prior_draws(nowhere, draws, seed)[name])
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    return {"mean": values.mean(), "sd": values.std(), **dict(zip(_SUMMARY[2:], quantiles, strict=True))}
