"""What the training experiments compare, and what their results say.

One thing is changed at a time, every simulated earthquake is an event of its own, and intervals
are over events and seeds. `experiments.py` runs them; the pages findings/input, fitting, weak_rows
and more_data show the results.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from insar_seg.core.base import RequestError, fingerprint, rng_for
from insar_seg.core.profile import TrainingProfile
from insar_seg.networks.build import LOSSES, Network
from insar_seg.patches.augmentation import AUGMENTATIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE = Network("unet_vgg19", width=0.125)  # VGG19 U-net with an eighth of the filters
# 800 patches eight times, cosine schedule
FIT = TrainingProfile(epochs=8, batch_size=16, learning_rate=2e-3, patience=8)
ENCODINGS = (  # the reference's first
    "cos_sin_coherence",
    "grey",
    "rgb",
    "cos_sin_valid",
    "cos_sin_rate",
    "cos_sin_coherence_gradient",
)


@dataclass(frozen=True)
class Setting:
    "What one run does."

    experiment: str  # which question it belongs to
    name: str  # what is different
    network: Network = REFERENCE
    training: TrainingProfile = FIT
    patches: int = 800  # training patches
    momentum: float | None = None  # of batch normalisation; None: adapted to the length
    # where the encoder starts: "" is random, "fringes" the package's, else stored weights
    start: str = ""

    @property
    def key(self) -> str:  # file name
        "The same for two settings that do the same, so that it is done once."
        return fingerprint(self.network, self.training, self.patches, self.momentum, self.start)


def experiments() -> dict[str, list[Setting]]:  # experiment -> its settings, the reference first
    "All settings."
    groups = (_channels, _augmentation, _loss, _encoder, _dual_attention, _resnet50, _data)
    made = [group() for group in groups] + [_fringes(n) for n in FEW_TO_ALL]
    return {settings[0].experiment: settings for settings in made}


def _fit(**changes):
    return dataclasses.replace(FIT, **changes)


def _channels():
    encodings = [Network("unet_vgg19", name, width=0.125) for name in ENCODINGS]
    return [Setting("channels", network.encoding, network) for network in encodings]


def _augmentation():
    changes = {"none": {"augment": ()}}
    changes |= {name: {"augment": (name,)} for name in AUGMENTATIONS}
    changes |= {
        "turn, sign, offset": {},
        "all eight": {"augment": tuple(AUGMENTATIONS)},
        "paste": {"augment": (), "paste_share": 0.5},
    }
    return [Setting("augmentation", n, training=_fit(**c)) for n, c in changes.items()]


def _loss():
    others = [Setting("loss", n, training=_fit(loss=n)) for n in LOSSES if n != "bce_dice"]
    balanced = _fit(positive_share=0.5)
    return [
        Setting("loss", "reference"),
        *others,
        Setting("loss", "half of the patches positive", training=balanced),
    ]


def _encoder():
    starts = {
        "pre-trained, fine-tuned": FIT,
        "pre-trained, frozen": _fit(frozen_epochs=8, frozen_rate=2e-3),
        "pre-trained, frozen 3 epochs, then fine-tuned": _fit(frozen_epochs=3, frozen_rate=2e-3),
    }
    return [
        Setting("encoder", "random start", patches=200),
        *[
            Setting("encoder", name, training=fit, patches=200, start="pretrained")
            for name, fit in starts.items()
        ],
    ]


FEW_TO_ALL = (80, 240, 800)  # patches: 10, 30 and 100 % of them


def _fringes(patches):
    "Random or pre-trained on fringes, frozen or not, in the same number of steps."
    network = Network("unet_vgg19", width=0.25)
    fit = _fit(epochs=8, learning_rate=1e-3)
    frozen = dataclasses.replace(fit, frozen_epochs=8, frozen_rate=1e-3)
    common = {"network": network, "patches": patches}
    name = f"fringes, {patches} patches"
    return [
        Setting(name, "random start", training=fit, **common),
        Setting(name, "from fringes", training=fit, start="fringes", **common),
        Setting(name, "from fringes, frozen", training=frozen, start="fringes", **common),
    ]


def _dual_attention():
    dual = Network("dual_attention_resnet50", width=0.125)
    single = dataclasses.replace(dual, auxiliary=False)
    name = "dual attention"
    return [
        Setting(name, "stride 8, auxiliary", dual),
        Setting(name, "stride 8, no auxiliary", single),
        Setting(name, "stride 32, auxiliary", dataclasses.replace(dual, output_stride=32)),
        Setting(name, "stride 32, no auxiliary", dataclasses.replace(single, output_stride=32)),
        *[
            Setting(name, f"stride 8, auxiliary, rate {rate:g}", dual, _fit(learning_rate=rate))
            for rate in (1e-4, 2e-2)
        ],
    ]


def _resnet50():
    resnet = Network("unet_resnet50", width=0.125)
    group = dataclasses.replace(resnet, batch_norm="group")
    three = _fit(epochs=3)
    return [
        Setting("resnet50", "rate 0.002", resnet),
        *[
            Setting("resnet50", f"rate {rate:g}", resnet, _fit(learning_rate=rate))
            for rate in (1e-4, 2e-2)
        ],
        Setting("resnet50", "momentum 0.99", resnet, momentum=0.99),
        Setting("resnet50", "group normalisation", group),
        Setting("resnet50", "3 epochs", resnet, three),
        Setting("resnet50", "3 epochs, momentum 0.99", resnet, three, momentum=0.99),
    ]


def _data():
    "The same number of steps for every number of patches."
    return [
        Setting("data", f"{n} interferograms", training=_fit(epochs=6400 // max(n, 800)), patches=n)
        for n in (800, 100, 200, 400, 1600, 3200)
    ]


def summarise(
    records: list[dict],  # of one experiment, as `experiments.run_setting` returns them
    reference: str,  # name of the setting that the others are compared with
    resamples: int = 2000,  # behind every interval
    seed: int = 0,  # fixes the resamples
    # index name; iou, low, high; difference from the reference with its low and high; seeds; lowest
    # and highest seed's IoU
) -> pd.DataFrame:
    "Scores with 95 % intervals. Raises `RequestError` if the reference has no record."
    names = list(dict.fromkeys(r["name"] for r in records))
    if reference not in names:
        raise RequestError(
            "The reference must have been run",
            repr(reference),
            f"There is: {', '.join(names) or 'nothing'}",
        )
    # (seeds, events, 4) each
    counts = {
        n: np.array([r["counts"] for r in records if r["name"] == n], np.int64) for n in names
    }
    numbers = {c.shape[1] for c in counts.values()}
    if len(numbers) != 1:
        raise RequestError(
            "All runs must have the same test patches", sorted(numbers), "Run them again"
        )
    drawn = _resampled(counts, numbers.pop(), resamples, rng_for(seed, "experiments", reference))
    base = micro_iou(counts[reference].sum(1)).mean()
    rows = {}
    for name, c in counts.items():
        each = micro_iou(c.sum(1))
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        low_apart, high_apart = np.quantile(drawn[name] - drawn[reference], [0.025, 0.975])
        rows[name] = {
            "iou": each.mean(),
            "low": low,
            "high": high,
            "difference": each.mean() - base,
            "difference_low": low_apart,
            "difference_high": high_apart,
            "seeds": len(c),
            "seed_low": each.min(),
            "seed_high": each.max(),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").astype({"seeds": int})
    return table.rename_axis("name")


def _resampled(counts, events, resamples, rng):
    "Name -> IoU of every resample: the same events for all settings, seeds of each its own."
    weight = np.stack(
        [np.bincount(rng.integers(0, events, events), minlength=events) for _ in range(resamples)]
    )
    drawn = {}
    for name, c in counts.items():
        sums = np.einsum("re,sek->rsk", weight, c)
        pick = rng.integers(0, len(c), (resamples, len(c)))
        drawn[name] = micro_iou(np.take_along_axis(sums, pick[..., None], 1)).mean(1)
    return drawn


def micro_iou(
    counts: np.ndarray,  # (..., 4): tp, fp, fn, tn
) -> np.ndarray:  # (...) float64, 0 to 1
    "IoU of counts; 0 where nothing is affected or marked."
    union = counts[..., :3].sum(-1)
    return np.divide(counts[..., 0], union, out=np.zeros(union.shape), where=union > 0)


def marking_everything(
    test: dict[str, np.ndarray],  # patches of `experiments.simulated_patches`
) -> float:  # 0 to 1
    "Micro IoU of marking every pixel of the test patches."
    counted = (test["ignore"] == 0) & np.isfinite(test["phase"])
    return float(test["margin"][counted].mean())


def stored_table(
    results: dict,  # what `experiments.py` wrote
    experiment: str,  # a key of `experiments`
) -> pd.DataFrame:  # index and columns as `summarise` gives them
    "The table of one experiment from the results file."
    return pd.DataFrame(results["experiments"][experiment]["rows"]).set_index("name")


def plot_settings(
    table: pd.DataFrame,  # of `summarise`
    ax: Axes | None = None,  # matplotlib axes; made if None
    everything: float | None = None,  # IoU of marking everything: a dotted line
) -> Axes:  # the axes
    """Forest plot: IoU with its interval over seeds and events, small marks for the lowest and
    highest seed; filled where the difference from the reference holds no zero.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7, 0.32 * len(table) + 0.8), dpi=72, layout="constrained")
    for y, r in enumerate(table.itertuples()):
        clear = r.difference_low > 0 or r.difference_high < 0
        ax.plot([r.low, r.high], [y, y], color="0.7", lw=2, zorder=1)
        ax.plot([r.seed_low, r.seed_high], [y, y], "|", color="0.4", ms=7)
        ax.plot(r.iou, y, "o", color="C3" if clear else "C0", mfc="C3" if clear else "w", ms=6)
    ax.axvline(table.iou.iloc[0], color="0.8", lw=1, zorder=0)
    if everything is not None:
        ax.axvline(everything, color="k", lw=1, ls=":")
    ax.set(
        yticks=range(len(table)),
        yticklabels=table.index,
        xlabel="IoU on test patches",
        ylim=(len(table) - 0.5, -0.5),
    )
    return ax


def verdict(
    table: pd.DataFrame,  # of `summarise`, the reference first
) -> str:  # up to three lines
    "What the intervals allow to be said, in words."
    rest = table.iloc[1:]
    better = rest.difference_low > 0
    worse = rest.difference_high < 0
    groups = {
        "Better than": better,
        "Worse than": worse,
        "No difference shown from": ~(better | worse),
    }
    return "\n".join(
        f"{words} {table.index[0]}: {', '.join(rest.index[chosen])}."
        for words, chosen in groups.items()
        if chosen.any()
    )


def readable(
    table: pd.DataFrame,  # of `summarise`, the reference first
) -> pd.DataFrame:  # index name; IoU, difference, seeds
    "The table as a person reads it: IoU [interval], difference [interval]."
    iou = [f"{r.iou:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in table.itertuples()]
    apart = [
        f"{r.difference:+.3f} [{r.difference_low:+.3f}, {r.difference_high:+.3f}]"
        for r in table.itertuples()
    ]
    columns = {"IoU [95 %]": iou, "difference [95 %]": ["reference", *apart[1:]]}
    return pd.DataFrame({**columns, "seeds": table.seeds.to_numpy()}, index=table.index)
