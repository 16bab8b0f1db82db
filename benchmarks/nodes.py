"""Which node rule of integrated gradients errs least at equal cost? The default, ``quadratic``, is the answer.

    python benchmarks/nodes.py [--steps 32] [--reference 512]

For every image that the network classifies correctly, the attributions of each rule are compared with those of many
midpoints. Printed per network and baseline: the relative L1 error of the attributions and the completeness gap as a
share of ``|f(x) - f(x0)|``, median and mean over images. The adaptive rule appears twice: with as many gradient
evaluations as the others, and with as many as its forward sweep leaves it at equal cost.
"""

from __future__ import annotations

import argparse
import time

import torch
from report import report
from torch import Tensor
from tqdm.auto import tqdm

import wam
from wam import data, models, quadrature


def reference(model: torch.nn.Module, x: Tensor, x0: Tensor, label: int, count: int, chunk: int = 16) -> Tensor:
    """The mean gradient over ``count`` midpoints of the path, in plain PyTorch."""
    alpha = (torch.arange(count, device=x.device) + 0.5) / count
    total = torch.zeros_like(x, dtype=torch.float64)
    for part in alpha.split(chunk):
        points = (x0 + part.view(-1, 1, 1, 1) * (x - x0)).requires_grad_(True)
        total += torch.autograd.grad(model(points)[:, label].sum(), points)[0].double().sum(0, keepdim=True)
    return (total / count).to(x.dtype)


def forward_share(model: torch.nn.Module, x: Tensor) -> float:
    """The cost of a forward pass as a share of that of a gradient."""

    def gradient():
        points = x.detach().requires_grad_(True)
        torch.autograd.grad(model(points).sum(), points)

    def forward():
        with torch.no_grad():
            model(x)

    times = {forward: [], gradient: []}
    for _ in range(5):
        for call, seconds in times.items():
            start = time.perf_counter()
            call()
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    return sorted(times[forward])[2] / sorted(times[gradient])[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--models", nargs="+", default=list(models.EMBEDDED))
    parser.add_argument("--baselines", nargs="+", choices=("zero", "black"), default=["zero", "black"])
    parser.add_argument("--wavelet", default="haar")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--reference", type=int, default=512)
    parser.add_argument("--images", type=int, default=20)
    args = parser.parse_args()

    frame = wam.Wavelet(args.wavelet, levels=3, ndim=2)
    rows = []
    for name in args.models:
        model = models.load(name, device=args.device).requires_grad_(False)
        images = data.images(args.images)
        batch = model.prepare(images).to(args.device)
        labels = torch.tensor([image.label for image in images], device=args.device)
        correct = torch.cat([model(x).argmax(1) for x in batch.split(4)]) == labels
        batch, labels = batch[correct], labels[correct].tolist()
        sweep = (quadrature.SWEEP - 2) * forward_share(model, batch[:4])
        runs = {rule: (rule, args.steps) for rule in quadrature.RULES}
        runs["adaptive, equal cost"] = ("adaptive", args.steps - round(sweep))
        for baseline in args.baselines:
            x0 = torch.zeros(1, 3, 1, 1, device=args.device) if baseline == "zero" else model.black[None]
            found: dict[str, list[tuple[float, float]]] = {run: [] for run in runs}
            for x, label in tqdm(list(zip(batch.split(1), labels)), desc=f"{name}, {baseline}"):
                mean = reference(model, x, x0.expand_as(x), label, args.reference)
                exact = (frame.pullback(mean) * frame.analysis(x - x0)).pack()[0]
                for run, (rule, steps) in runs.items():
                    e = wam.integrated_gradients(
                        model, x, label, frame=frame, steps=steps, nodes=rule, baseline=x0, max_batch=8
                    )
                    error = (e.attributions.pack()[0] - exact).abs().sum() / exact.abs().sum()
                    gap = e.completeness_gap / (e.score - e.baseline_score).abs()
                    found[run].append((error.item(), gap.item()))
            for run, (_, steps) in runs.items():
                error, gap = torch.tensor(found[run]).T
                rows.append(
                    {
                        "network": name,
                        "baseline": baseline,
                        "rule": run,
                        "gradients": steps,
                        "images": len(error),
                        "error (median)": round(error.median().item(), 4),
                        "error (mean)": round(error.mean().item(), 4),
                        "gap (median)": round(gap.median().item(), 4),
                        "gap (mean)": round(gap.mean().item(), 4),
                    }
                )
    report("nodes", rows, vars(args))


if __name__ == "__main__":
    main()
