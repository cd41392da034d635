"One thing changed at a time, every simulated earthquake an event of its own, intervals over events and seeds: which channels, augmentations, losses and networks learn best."

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from insar_seg.core.base import (
    RequestError,
    atomic_path,
    code_version,
    fingerprint,
    rng_for,
    write_text,
)
from insar_seg.core.profile import AUGMENTATIONS, ENCODINGS, LOSSES, TrainingProfile
from insar_seg.networks.build import Network, build_network, computing, encoder_layers
from insar_seg.networks.training import predict, train
from insar_seg.networks.weights import load_weights
from insar_seg.patches.batches import PatchSequence
from insar_seg.patches.samples import StreamOptions, sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def simulated_patches(
    number: int,  # patches, 0 or more
    seed: int,  # of the stream, 0 or more
    size_px: int = 64,  # side of a patch, a multiple of 32 from 64 on
    pixel_m: float = 400.0,  # size of a pixel, metres, 20 to 1000
    layers: tuple[str, ...] | None = None,  # layers of the simulator; None: all
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,  # wraps an iterable, e.g. tqdm
    # phase, coherence (N, H, W) float32; visible, margin, ignore uint8; magnitude (N,) float32, 0 =
    # no earthquake
) -> dict[str, np.ndarray]:
    """Patches as a store holds them, in memory. Raises `RequestError` for sizes or layers that the
    stream refuses.
    """
    options = StreamOptions((size_px,) * 2, (pixel_m,) * 2, layers=layers)
    kinds = {
        "phase": np.float32,
        "coherence": np.float32,
        "visible": np.uint8,
        "margin": np.uint8,
        "ignore": np.uint8,
    }
    made: dict[str, Any] = {
        k: np.empty((number, size_px, size_px), t) for k, t in kinds.items()
    } | {"magnitude": np.empty(number, np.float32)}
    for i in progress(range(number)):
        s = sample(seed, i, options)
        made["phase"][i] = np.where(s.valid, s.phase, np.nan)
        made["coherence"][i] = s.coherence
        made["magnitude"][i] = s.magnitude
        for k in ("visible", "margin", "ignore"):
            made[k][i] = getattr(s.masks, k)
    return made


def kept_patches(
    folder: str | Path,  # where they are kept
    name: str,  # of the file, without its ending
    number: int,  # patches
    seed: int,  # of the stream
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,  # wraps an iterable, e.g. tqdm
    **options: Any,  # size_px, pixel_m, layers of `simulated_patches`
) -> dict[str, np.ndarray]:  # as `simulated_patches`
    "`simulated_patches`, kept in `folder/<name>.npz` for the next call."
    path = Path(folder) / f"{name}.npz"
    if not path.is_file():
        made: dict[str, Any] = simulated_patches(number, seed, progress=progress, **options)
        with atomic_path(path) as tmp, open(tmp, "wb") as f:
            np.savez(f, **made)
    with np.load(path, allow_pickle=False) as f:
        return {k: f[k] for k in f.files}


REFERENCE = Network("unet_vgg19", width=0.125)  # VGG19 U-net with an eighth of the filters
# 800 patches eight times, cosine schedule
FIT = TrainingProfile(epochs=8, batch_size=16, learning_rate=2e-3, patience=8)


@dataclass(frozen=True)
class Setting:
    "What one run does."

    experiment: str  # which question it belongs to
    name: str  # what is different
    network: Network = REFERENCE
    training: TrainingProfile = FIT
    patches: int = 800  # training patches
    momentum: float | None = None  # of batch normalisation; None: adapted to the length
    start: str = ""  # name of kept weights whose encoder the network starts from

    @property
    def key(self) -> str:  # file name
        "The same for two settings that do the same, so that it is done once."
        return fingerprint(self.network, self.training, self.patches, self.momentum, self.start)


def _fit(**changes):
    return dataclasses.replace(FIT, **changes)


def _changed(experiment, changes: dict) -> list[Setting]:
    "The reference and a setting a change of its training."
    return [
        Setting(experiment, "reference"),
        *[Setting(experiment, name, training=_fit(**c)) for name, c in changes.items()],
    ]


def experiments() -> dict[str, list[Setting]]:  # experiment -> its settings, the reference first
    "All settings."
    dual = Network("dual_attention_resnet50", width=0.125)

    def variant(**k):
        return dataclasses.replace(dual, **k)

    resnet = Network("unet_resnet50", width=0.125)
    return {
        "channels": [
            Setting("channels", e, Network("unet_vgg19", e, width=0.125))
            for e in ("cos_sin_coherence", *[e for e in ENCODINGS if e != "cos_sin_coherence"])
        ],
        "augmentation": [
            Setting("augmentation", "none", training=_fit(augment=())),
            *[Setting("augmentation", a, training=_fit(augment=(a,))) for a in AUGMENTATIONS],
            Setting("augmentation", "turn, sign, offset"),
            Setting("augmentation", "all eight", training=_fit(augment=AUGMENTATIONS)),
            Setting("augmentation", "paste", training=_fit(augment=(), paste_share=0.5)),
        ],
        "loss": _changed(
            "loss",
            {name: dict(loss=name) for name in LOSSES if name != "bce_dice"}
            | {"half of the patches positive": dict(positive_share=0.5)},
        ),
        "encoder": [
            Setting("encoder", "random start", patches=200),
            Setting("encoder", "pre-trained, fine-tuned", patches=200, start="pretrained"),
            Setting(
                "encoder",
                "pre-trained, frozen",
                training=_fit(frozen_epochs=8, frozen_rate=2e-3),
                patches=200,
                start="pretrained",
            ),
            Setting(
                "encoder",
                "pre-trained, frozen 3 epochs, then fine-tuned",
                training=_fit(frozen_epochs=3, frozen_rate=2e-3),
                patches=200,
                start="pretrained",
            ),
        ],
        "dual attention": [
            Setting("dual attention", "stride 8, auxiliary", dual),
            Setting("dual attention", "stride 8, no auxiliary", variant(auxiliary=False)),
            Setting("dual attention", "stride 32, auxiliary", variant(output_stride=32)),
            Setting(
                "dual attention",
                "stride 32, no auxiliary",
                variant(output_stride=32, auxiliary=False),
            ),
            *[
                Setting(
                    "dual attention",
                    f"stride 8, auxiliary, rate {r:g}",
                    dual,
                    _fit(learning_rate=r),
                )
                for r in (1e-4, 2e-2)
            ],
        ],
        "resnet50": [
            Setting("resnet50", "rate 0.002", resnet),
            *[
                Setting("resnet50", f"rate {r:g}", resnet, _fit(learning_rate=r))
                for r in (1e-4, 2e-2)
            ],
            Setting("resnet50", "momentum 0.99", resnet, momentum=0.99),
            Setting(
                "resnet50", "group normalisation", dataclasses.replace(resnet, batch_norm="group")
            ),
            Setting("resnet50", "3 epochs", resnet, _fit(epochs=3)),
            Setting("resnet50", "3 epochs, momentum 0.99", resnet, _fit(epochs=3), momentum=0.99),
        ],
        "data": [
            Setting(
                "data", f"{n} interferograms", training=_fit(epochs=6400 // max(n, 800)), patches=n
            )
            for n in (800, 100, 200, 400, 1600, 3200)
        ],
    }


def run_setting(
    setting: Setting,  # what to train, and on how much
    seed: int,  # of the weights, of dropout and of the order of the patches
    # train, validation, test: patches of `simulated_patches`; signals: to paste, or None
    data: dict,
    # weights are kept in folder/weights/<key>-<seed>, the record in folder/runs/<key>-<seed>.json
    folder: str | Path,
) -> dict:  # the record: what was done, the history, and tp, fp, fn, tn of every test patch
    "Train and score one setting; a record that is there already is returned."
    folder, names = Path(folder), {"experiment": setting.experiment, "name": setting.name}
    record = folder / "runs" / f"{setting.key}-{seed}.json"
    if record.is_file():
        return names | json.loads(record.read_text(encoding="utf-8"))
    keras.backend.clear_session()
    p = setting.training
    with computing(p.precision, p.devices):
        return _run(setting, seed, data, folder, record, names)


def _run(setting, seed, data, folder, record, names):
    "The run itself, in the precision and sharing of its profile."
    model = build_network(setting.network, seed=seed, devices=setting.training.devices)
    p = setting.training
    if setting.start:
        start_from(model, setting.network, folder / "weights" / setting.start / "best.weights.h5")
    rows = np.arange(setting.patches)
    if setting.patches < 800:
        rows = np.resize(rows, 800)
    positive = data["train"]["margin"].any((1, 2))[rows]
    training = PatchSequence(
        data["train"],
        rows,
        "margin",
        setting.network.encoding,
        p.batch_size,
        augment=p.augment,
        seed=seed,
        shuffle=True,
        positive=positive,
        positive_share=p.positive_share,
        signals=data["signals"],
        paste_share=p.paste_share,
    )
    validation = PatchSequence(
        data["validation"],
        np.arange(len(data["validation"]["phase"])),
        "margin",
        setting.network.encoding,
        32,
    )
    history = train(
        model,
        training,
        validation,
        folder / "weights" / f"{setting.key}-{seed}",
        p,
        seed,
        verbose=False,
        momentum=setting.momentum,
        network=setting.network,
        state_seconds=1e9,
    )
    made = {
        "seed": seed,
        "patches": setting.patches,
        "network": dataclasses.asdict(setting.network),
        "training": dataclasses.asdict(p),
        "momentum": setting.momentum,
        "start": setting.start,
        "history": history.drop(columns="seconds").round(6).to_dict("list"),
        "seconds": round(float(history.seconds.sum()), 1),
        "counts": test_counts(model, setting.network.encoding, data["test"]).tolist(),
        "version": code_version(),
    }
    write_text(record, json.dumps(made, allow_nan=False))
    return names | made


def start_from(
    model: keras.Model,  # changed in place
    network: Network,  # what the model was built from
    path: str | Path,  # weights of the same network
) -> None:
    "Copy the encoder of kept weights; the decoder keeps its random start."
    source = build_network(network)
    load_weights(source, path)
    for a, b in zip(encoder_layers(source), encoder_layers(model)):
        b.set_weights(a.get_weights())


def test_counts(
    model: keras.Model,  # a trained network
    encoding: str,  # of its channels
    test: dict[str, np.ndarray],  # patches of `simulated_patches`
    # (N, 4) int64: true and false positive, false and true negative pixels (tp, fp, fn, tn)
) -> np.ndarray:
    "Counts of every test patch at a threshold of 0.5."
    from insar_seg.evaluation.pixels import counts

    ignored = (test["ignore"] > 0) | ~np.isfinite(test["phase"])
    return counts(
        test["margin"], predict(model, test["phase"], test["coherence"], encoding, 32), ignored
    ).to_numpy()


def summarise(
    records: list[dict],  # of one experiment, as `run_setting` returns them
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
    # (seeds, events, 4)
    table = {n: np.array([r["counts"] for r in records if r["name"] == n], np.int64) for n in names}
    events = {c.shape[1] for c in table.values()}
    if len(events) != 1:
        raise RequestError(
            "All runs must have the same test patches", sorted(events), "Run them again"
        )
    rng = rng_for(seed, "experiments", reference)
    n = events.pop()
    weight = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples)])
    drawn = {}
    for name, c in table.items():
        sums = np.einsum("re,sek->rsk", weight, c)
        pick = rng.integers(0, len(c), (resamples, len(c)))
        drawn[name] = micro_iou(np.take_along_axis(sums, pick[..., None], 1)).mean(1)
    rows = []
    for name, c in table.items():
        each = micro_iou(c.sum(1))
        difference = drawn[name] - drawn[reference]
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        dlow, dhigh = np.quantile(difference, [0.025, 0.975])
        rows.append(
            dict(
                name=name,
                iou=each.mean(),
                low=low,
                high=high,
                difference=each.mean() - micro_iou(table[reference].sum(1)).mean(),
                difference_low=dlow,
                difference_high=dhigh,
                seeds=len(c),
                seed_low=each.min(),
                seed_high=each.max(),
            )
        )
    return pd.DataFrame(rows).set_index("name")


def micro_iou(
    c: np.ndarray,  # (..., 4) counts: tp, fp, fn, tn
) -> np.ndarray:  # (...) float64, 0 to 1
    "IoU of counts; 0 where nothing is affected or marked."
    union = c[..., :3].sum(-1)
    return np.divide(c[..., 0], union, out=np.zeros(union.shape), where=union > 0)


def marking_everything(
    test: dict[str, np.ndarray],  # patches of `simulated_patches`
) -> float:  # 0 to 1
    "Micro IoU of marking every pixel of the test patches."
    counted = (test["ignore"] == 0) & np.isfinite(test["phase"])
    return float(test["margin"][counted].mean())


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
    for y, (name, r) in enumerate(table.iterrows()):
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


def told(table: pd.DataFrame) -> str:  # of `summarise`, the reference first  # up to three lines
    "What the intervals allow to be said, in words."
    rest = table.iloc[1:]
    better = rest.index[rest.difference_low > 0]
    worse = rest.index[rest.difference_high < 0]
    open_ = [n for n in rest.index if n not in better and n not in worse]
    parts = [
        f"{what} {table.index[0]}: {', '.join(names)}."
        for what, names in (
            ("Better than", better),
            ("Worse than", worse),
            ("No difference shown from", open_),
        )
        if len(names)
    ]
    return "\n".join(parts)


def kept_table(
    results: dict,
    experiment: str,  # what `tools/experiments.py` wrote  # a key of `experiments`
) -> pd.DataFrame:
    """The table of one experiment from the results file; index and columns as `summarise` gives
    them.
    """
    return pd.DataFrame(results["experiments"][experiment]["rows"]).set_index("name")


def text_of(
    table: pd.DataFrame,  # of `summarise`, the reference first
) -> pd.DataFrame:  # index name; IoU, difference, seeds
    "The table as a person reads it: IoU [interval], difference [interval]."

    def span(r, a, b, c, sign=""):
        return f"{r[a]:{sign}.3f} [{r[b]:{sign}.3f}, {r[c]:{sign}.3f}]"

    return pd.DataFrame(
        {
            "IoU [95 %]": [span(r, "iou", "low", "high") for _, r in table.iterrows()],
            "difference [95 %]": [
                (
                    "reference"
                    if i == 0
                    else span(r, "difference", "difference_low", "difference_high", "+")
                )
                for i, (_, r) in enumerate(table.iterrows())
            ],
            "seeds": table.seeds.to_numpy(),
        },
        index=table.index,
    )
