"""Figures: what they show, that their texts keep apart, and their files."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sbmlang.errors import SbmError
from sbmlang.results import figures, save_figures
from sbmlang.results.plot_fit import envelope
from sbmlang.results.plot_style import axis_label, columns_for, pages, pretty_unit


def raised(call, *args, **options):
    with pytest.raises(SbmError) as caught:
        call(*args, **options)
    assert all(d.help for d in caught.value.diagnostics)
    return caught.value


def texts(figure):
    """Every text that a reader sees, with the box it fills."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    parts = [figure._supxlabel, figure._supylabel, *(t for x in figure.legends for t in x.get_texts())]
    for axes in figure.axes:
        if axes.get_visible():
            ticks = [t.label1 for axis in (axes.xaxis, axes.yaxis) for t in axis._update_ticks()]
            titles = [axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]
            parts += [*ticks, *titles, *axes.texts]
    shown = [t for t in parts if t is not None and t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), t.get_window_extent(canvas.renderer)) for t in shown]


@pytest.mark.parametrize("name", ["incubation", "predator_prey", "daily"])
def test_no_text_lies_on_another_or_off_the_page(name, request):
    fit = request.getfixturevalue(name)
    for title, figure in figures(fit.tree(), truth=fit.truth).items():
        boxes = texts(figure)
        assert len(boxes) > 5, title
        for (a, box_a), (b, box_b) in combinations(boxes, 2):
            assert not box_a.padded(-1).overlaps(box_b.padded(-1)), (title, a, b)
        for text, box in boxes:
            assert box.x0 > -1 and box.y0 > -1, (title, text)
            assert box.x1 < figure.bbox.x1 + 1 and box.y1 < figure.bbox.y1 + 1, (title, text)


def test_names_of_figures(incubation, predator_prey, daily):
    assert list(figures(incubation.tree())) == [
        "fit_CO2",
        "states_C",
        "prior_posterior",
        "pairs",
        "trace",
        "energy",
    ]
    assert list(figures(predator_prey.tree(), ["fit", "trace"])) == [
        "fit_hares",
        "fit_lynx",
        "trace_1",
        "trace_2",
    ]
    assert list(figures(daily.tree(), ["prior_posterior"])) == ["prior_posterior_1", "prior_posterior_2"]


def test_fit_shows_the_data_and_the_bands(incubation):
    figure = figures(incubation.tree(), ["fit"])["fit_CO2"]
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in panels] == [
        f"soil {s}" for s in incubation.data.labels["soil"]
    ]
    channel = incubation.data.channels["CO2"]
    peat = channel.index["soil"] == 2
    lines = {line.get_label(): line for line in panels[2].lines}
    assert np.array_equal(lines["observed"].get_ydata(), channel.value[peat])
    assert np.array_equal(lines["observed"].get_xdata(), channel.time[peat])
    assert np.array_equal(lines["median"].get_xdata(), np.unique(channel.time))
    draws = incubation.groups["posterior_predictive"]["CO2"].reshape(-1, 225)[:, peat][:, :3]
    assert lines["median"].get_ydata()[0] == pytest.approx(np.median(draws))
    assert lines["mean"].get_ydata()[0] == pytest.approx(draws.mean())


def test_envelope_pools_replicates_in_time_order():
    draws = np.random.default_rng(0).normal([5, 0, 5], size=(2000, 3))
    found = envelope(np.array([2.0, 1.0, 2.0]), draws)
    assert found.time.tolist() == [1.0, 2.0]
    assert found.quantiles[:, 1] == pytest.approx(
        np.quantile(draws[:, [0, 2]], [0.05, 0.25, 0.5, 0.75, 0.95])
    )
    assert found.mean == pytest.approx([draws[:, 1].mean(), draws[:, [0, 2]].mean()])


def test_members_at_a_single_time_become_bars(incubation):
    channel = incubation.data.channels["CO2"]
    channel.time[:] = 7.0
    figure = figures(incubation.tree(), ["fit"])["fit_CO2"]
    assert not [c for c in figure.axes[0].collections if "Fill" in type(c).__name__]
    assert figure.axes[0].get_legend_handles_labels()[1] == [
        "90 % interval", "50 % interval", "median", "mean", "observed",
    ]  # fmt: skip


def test_prior_fit_shows_the_prior(incubation):
    predicted = {"CO2": incubation.groups["posterior_predictive"]["CO2"][0] + 1}
    shown = figures(incubation.tree(prior_predictive=predicted), ["prior_fit"])["prior_fit_CO2"]
    line = next(line for line in shown.axes[0].lines if line.get_label() == "mean")
    assert line.get_ydata()[0] == pytest.approx(predicted["CO2"][:, :3].mean())


def test_pairs_take_the_most_correlated(daily):
    rng = np.random.default_rng(0)
    base = daily.groups["posterior"]
    related = base["b_3"] + rng.normal(0, 0.02, base["b_3"].shape)
    figure = figures(daily.tree(posterior={**base, "b_11": related}), ["pairs"])["pairs"]
    labels = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert len(labels) == 5
    assert {"b_3 (umol/m²/s)", "b_11 (umol/m²/s)"} <= set(labels)
    titles = [axes.get_title("right") for axes in figure.axes]
    assert any(t.startswith(("ρ = 0.99", "ρ = 1.00")) for t in titles)


def test_truth_is_marked_where_it_lies(incubation):
    figure = figures(incubation.tree(), ["prior_posterior"], truth=incubation.truth)["prior_posterior"]
    marks = [line for axes in figure.axes for line in axes.lines if line.get_label() == "truth"]
    assert [line.get_xdata()[0] for line in marks] == [*incubation.truth["k"], 0.12]


def test_one_chain_and_a_parameter_that_stands_still(incubation):
    posterior = {"k": incubation.groups["posterior"]["k"][:1], "sigma": np.full((1, 400), 0.1)}
    tree = incubation.tree(posterior=posterior, reports=None, states=None)
    drawn = figures(tree, ["trace", "prior_posterior", "pairs"])
    assert len(drawn) == 3
    for figure in drawn.values():
        FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize(("format", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_files(predator_prey, tmp_path, format, start):
    paths = save_figures(predator_prey.tree(), tmp_path / "new" / "folder", ["fit"], format)
    assert [p.name for p in paths] == [f"fit_hares.{format}", f"fit_lynx.{format}"]
    assert all(p.read_bytes().startswith(start) for p in paths)
    assert sorted(p.parent for p in paths) == [tmp_path / "new" / "folder"] * 2


def test_figures_are_registered_nowhere(predator_prey, tmp_path):
    from matplotlib import pyplot

    save_figures(predator_prey.tree(), tmp_path, ["energy"])
    assert pyplot.get_fignums() == []


def test_mistakes(incubation, predator_prey, tmp_path):
    tree = incubation.tree()
    wrong = raised(figures, tree, ["tracer", "prior_fit"])
    assert wrong.codes == ("E665", "E666")
    assert "did you mean 'trace'?" in wrong.diagnostics[0].help
    assert "'prior_predictive'" in wrong.diagnostics[1].message
    one = predator_prey.tree(posterior={"alpha": predator_prey.groups["posterior"]["alpha"]})
    assert raised(figures, one, ["pairs"]).codes == ("E666",)
    assert "pairs" not in figures(one)
    assert raised(save_figures, tree, tmp_path, format="jpg").codes == ("E667",)
    assert raised(figures, tree, truth={"sigm": 1.0}).codes == ("E668",)
    assert raised(figures, tree, truth={"k": [1.0, 2.0]}).codes == ("E668",)
    (tmp_path / "file").write_text("")
    assert raised(save_figures, tree, tmp_path / "file").codes == ("E652",)
    assert raised(save_figures, tree, tmp_path / "file" / "below").codes == ("E653",)


def test_labels_and_pages():
    assert axis_label("S", "gC/m^2", "carbon") == "carbon, S (gC/m²)"
    assert axis_label("k", "") == "k"
    assert axis_label("k", "", "a doc of so many words that it needs two lines").count("\n") == 2
    assert pretty_unit("kg*m^-2*s**(-1)") == "kg m⁻² s⁻¹"
    assert [len(page) for _, page in pages(list(range(13)))] == [7, 6]
    assert [suffix for suffix, _ in pages(list(range(12)))] == [""]
    assert all(columns_for(n) * -(-n // columns_for(n)) - n <= 2 for n in range(1, 13))


def test_states_are_bands_or_the_probabilities_of_their_values():
    rng = np.random.default_rng(3)
    time = np.arange(5.0)
    chosen = rng.integers(1, 4, (2, 50, 5)).astype(float)
    chosen[..., 0] = 2
    data = xr.Dataset(
        {
            "K": (("chain", "draw", "time"), chosen, {"role": "state", "units": "1"}),
            "x": (("chain", "draw", "time", "site"), rng.normal(size=(2, 50, 5, 2)), {"role": "state"}),
        },
        {"time": time, "site": ["a", "b"]},
    )
    drawn = figures(xr.DataTree.from_dict({"posterior": data}), ["states"])
    assert list(drawn) == ["states_K", "states_x"]
    (finite,) = (a for a in drawn["states_K"].axes if a.get_visible())
    assert [c.get_label() for c in finite.collections] == ["1", "2", "3"]
    top = finite.collections[0].get_paths()[0].vertices[:, 1].max()  # the highest probability of 1
    assert top == pytest.approx((chosen == 1).mean((0, 1)).max())
    assert [a.get_title("left") for a in drawn["states_x"].axes if a.get_visible()] == ["site a", "site b"]
    median = {line.get_label(): line for line in drawn["states_x"].axes[1].lines}["median"].get_ydata()
    assert median == pytest.approx(np.median(data["x"].values[..., 1], axis=(0, 1)))
