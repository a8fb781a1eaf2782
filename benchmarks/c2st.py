"""Classifier two-sample test as the simulation-based-inference benchmark does it, for many pairs of samples at once.

sbibm (Lueckmann et al. 2021, AISTATS) trains scikit-learn's perceptron with two hidden layers of 10 d units on
10,000 against 10,000 draws, in five folds, and reports the accuracy on the draws held out: 0.5 where the two laws
are one. Here all pairs and folds are trained side by side, one batched product for all of them, in a twentieth of
the time. A classifier that has not learnt enough flatters: `python benchmarks/c2st.py` holds this one against
scikit-learn's on one disturbed sample.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import torch
from torch import Tensor

FOLDS = 5


@dataclass(frozen=True)
class Training:
    """Adam with a cosine from ``rate`` to zero; with 10,000 draws of each, as many steps as 80 epochs have."""

    rate: float = 5e-3
    batch: int = 200
    steps: int = 6400


def c2st(
    reference: np.ndarray, draws: np.ndarray, seed: int = 1, training: Training = Training()
) -> np.ndarray:
    """Accuracy for each pair, (pair,).

    ``reference`` and ``draws`` are (pair, draw, dimension), of one size; both are scaled by the mean and standard
    deviation of their reference.
    """
    if reference.shape != draws.shape:
        raise ValueError(
            f"{reference.shape} reference draws against {draws.shape}: both must be of one shape"
        )
    location, scale = reference.mean(1, keepdims=True), reference.std(1, ddof=1, keepdims=True)
    pooled = np.concatenate([reference, draws], 1)
    x = torch.as_tensor((pooled - location) / scale, dtype=torch.float32)
    y = torch.cat([torch.zeros(reference.shape[1]), torch.ones(draws.shape[1])])
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    folds = order[: len(y) // FOLDS * FOLDS].reshape(FOLDS, -1)
    unseen = folds  # (fold, row)
    seen = torch.stack([folds[[j for j in range(FOLDS) if j != k]].flatten() for k in range(FOLDS)])
    network = _trained(x, y, seen, training, generator)
    with torch.no_grad():
        right = (_logit(network, x[:, unseen].flatten(0, 1)) > 0) == (y[unseen].repeat(len(x), 1) > 0.5)
    return right.float().mean(1).reshape(len(x), FOLDS).mean(1).numpy()


def _trained(
    x: Tensor, y: Tensor, seen: Tensor, training: Training, generator: torch.Generator
) -> list[Tensor]:
    """Weights of one perceptron for each pair and fold, the pairs outermost: (pair*fold, in, out) and biases."""
    pairs, _, dimension = x.shape
    network = _fresh(pairs * FOLDS, dimension, generator)
    optimizer = torch.optim.Adam(network, lr=training.rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    for rows in islice(_batches(seen, training.batch, generator), training.steps):
        logit = _logit(network, x[:, rows].flatten(0, 1))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, y[rows].repeat(pairs, 1), reduction="none"
        )
        optimizer.zero_grad()
        loss.mean(
            1
        ).sum().backward()  # summed over the networks, which share nothing: each is trained as if alone
        optimizer.step()
        schedule.step()
    return network


def _batches(seen: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows (fold, row) epoch by epoch, each in a fresh order, without end; what does not fill a batch is left out."""
    while True:
        shuffled = seen[:, torch.randperm(seen.shape[1], generator=generator)]
        yield from shuffled[:, : seen.shape[1] // size * size].split(size, dim=1)


def _fresh(count: int, dimension: int, generator: torch.Generator) -> list[Tensor]:
    """Weights and biases of three layers, uniform as Glorot & Bengio (2010) have them for rectifiers."""
    sizes = (dimension, 10 * dimension, 10 * dimension, 1)
    network = []
    for ins, outs in pairwise(sizes):
        bound = math.sqrt(6 / (ins + outs))
        for shape in ((count, ins, outs), (count, 1, outs)):
            network.append(((torch.rand(shape, generator=generator) * 2 - 1) * bound).requires_grad_())
    return network


def _logit(network: list[Tensor], x: Tensor) -> Tensor:
    """(network, row, dimension) -> (network, row)."""
    w1, b1, w2, b2, w3, b3 = network
    hidden = torch.relu(torch.baddbmm(b1, x, w1))
    return torch.baddbmm(b3, torch.relu(torch.baddbmm(b2, hidden, w2)), w3).squeeze(-1)


def sklearn_c2st(reference: np.ndarray, draws: np.ndarray, seed: int = 1) -> float:
    """The same for one pair by scikit-learn, with sbibm's settings: the judge of the judge."""
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.neural_network import MLPClassifier

    width = 10 * reference.shape[1]
    machine = MLPClassifier(
        activation="relu", hidden_layer_sizes=(width, width), max_iter=1000, solver="adam", random_state=seed
    )
    pooled = (np.concatenate([reference, draws]) - reference.mean(0)) / reference.std(0, ddof=1)
    label = np.repeat([0, 1], [len(reference), len(draws)])
    folds = KFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(machine, pooled, label, cv=folds, scoring="accuracy").mean())


def main() -> None:
    """One disturbed sample of each task, judged by both: each draw of the reference moved by a tenth of its sd."""
    import sbibm

    torch.set_num_threads(1)
    for task in ("two_moons", "slcp", "sir"):
        one = sbibm.observation(task, 1).draws
        rng = np.random.default_rng(0)
        moved = rng.permutation(one) + 0.1 * one.std(0) * rng.standard_normal(one.shape)
        here, spent = _timed(lambda one=one, moved=moved: c2st(one[None], moved[None])[0])
        there, longer = _timed(lambda one=one, moved=moved: sklearn_c2st(one, moved))
        half = rng.permutation(one).reshape(1, 2, -1, one.shape[1])
        same = c2st(half[:, 0], half[:, 1])[0]
        print(
            f"{task}: {here:.3f} in {spent:.0f} s, scikit-learn {there:.3f} in {longer:.0f} s; "
            f"two halves of the reference {same:.3f}",
            flush=True,
        )


def _timed(call: Callable[[], float]) -> tuple[float, float]:
    """What it returns, and the processor seconds it took."""
    clock = time.process_time()
    value = float(call())
    return value, time.process_time() - clock


if __name__ == "__main__":
    main()
