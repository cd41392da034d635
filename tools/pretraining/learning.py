"""A leg of the training: from the committed weights, or from where it was stopped, to its end."""

import json
import multiprocessing
import threading
import time
from queue import Queue

import numpy as np
from examples import ENCODING, batch
from scenes import SHARD, SIDE, Window, keep_making

BATCH = 8
REUSE = 5  # how often a scene is seen
AHEAD = 4  # shards that are there before the first batch
RISE = 100  # batches
F = np.float32


def network(answers=2):
    from insar_seg.networks.build import Network, build_network

    return build_network(Network("pyramid", ENCODING, answers=answers), seed=0)


def grow(model, old):
    """Give the pyramid the weights of a compact network: it then answers as that one did. What the
    looks add, and the second answer, begin at nothing.
    """
    for layer in old.layers:
        values = layer.get_weights()
        new = model.get_layer(layer.name) if values else None
        if new is None:
            continue
        filled = []
        for value, present in zip(values, new.get_weights()):
            if value.shape != present.shape:
                part = tuple(slice(n) for n in value.shape)
                grown = np.zeros_like(present)
                grown[part] = value
                value = grown
            filled.append(value)
        new.set_weights(filled)
    logit = model.get_layer("logit")
    kernel, bias = logit.get_weights()
    bias[1:] = -4
    logit.set_weights([kernel, bias])


def loss(truth, answer):
    "Cross-entropy of all pixels that count, and half the Dice loss of what a window shows."
    from keras import ops

    counts = ops.cast(truth >= 0, "float32")
    yes = ops.cast(truth > 0, "float32")
    p = ops.clip(answer, 1e-6, 1 - 1e-6)
    entropy = -(yes * ops.log(p) + (1 - yes) * ops.log(1 - p)) * counts
    # of each window and answer by itself, so that a small earthquake counts as a large one does
    size = ops.sum(yes, (1, 2))
    both = ops.sum(p * yes, (1, 2))
    either = ops.sum((p + yes) * counts, (1, 2))
    shows = ops.cast(size > 0, "float32")
    dice = ops.sum((1 - 2 * both / ops.maximum(either, 1)) * shows)
    dice = dice / ops.maximum(ops.sum(shows), 1)
    return ops.sum(entropy) / ops.maximum(ops.sum(counts), 1) + 0.5 * dice


def newest(number):
    "The newest shard that batch `number` may draw from."
    return AHEAD - 1 + number * BATCH // (SHARD * REUSE)


class State:
    "Where a leg stands, in one file that is replaced as a whole."

    def __init__(self, path):
        self.path = path

    def save(self, number, model, average, log):
        arrays = {f"weight{i}": w for i, w in enumerate(model.get_weights())}
        arrays |= {f"average{i}": w for i, w in enumerate(average)}
        arrays |= {f"optimizer{i}": np.asarray(v) for i, v in enumerate(model.optimizer.variables)}
        part = self.path.with_suffix(".part")
        with part.open("wb") as f:
            np.savez(f, number=number, log=json.dumps(log), **arrays)
        part.replace(self.path)

    def load(self, model):
        "Fill the model and its optimizer; returns number, average and log, or None."
        if not self.path.exists():
            return None
        with np.load(self.path, allow_pickle=False) as f:
            count = len(model.get_weights())
            model.set_weights([f[f"weight{i}"] for i in range(count)])
            for i, variable in enumerate(model.optimizer.variables):
                variable.assign(f[f"optimizer{i}"])
            average = [f[f"average{i}"] for i in range(count)]
            return int(f["number"]), average, json.loads(str(f["log"]))


def fill(queue, window, needed, backgrounds, seed, numbers):
    "Put the batches `numbers` into a queue; or what went wrong, for the training to raise."
    try:
        for number in numbers:
            needed.value = newest(number)
            shards = window.up_to(newest(number))
            queue.put(batch(shards, backgrounds, seed, number, BATCH))
    except Exception as e:
        queue.put(e)


def averaged(average, weights, number):
    "The running mean of weights, over about a tenth of the batches so far, 400 at least."
    keep = min(1 - 8 / max(400, 0.1 * number), (number + 8) / (number + 80))
    return [F(keep) * a + F(1 - keep) * w for a, w in zip(average, weights)]


def learn(work, seed, model, batches, rate, backgrounds, report, workers=1):
    """Train for a number of batches, resuming; `report(number, model with averaged weights)` is
    called every 250 batches for a row of the log. Returns averaged weights and log.
    """
    import keras

    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    model.compile(optimizer, loss=loss)
    model.optimizer.build(model.trainable_variables)
    state = State(work / f"leg_{seed}.npz")
    number, average, log = state.load(model) or (0, model.get_weights(), [])
    context = multiprocessing.get_context("spawn")
    needed = context.Value("l", newest(number))
    makers = [
        context.Process(
            target=keep_making, args=(work / "pool", seed, k, workers, needed), daemon=True
        )
        for k in range(workers)
    ]
    for maker in makers:
        maker.start()
    queue = Queue(4)
    window = Window(work / "pool", seed)
    numbers = range(number, batches)
    args = (queue, window, needed, backgrounds, seed, numbers)
    threading.Thread(target=fill, args=args, daemon=True).start()
    losses = []
    start = saved = time.monotonic()
    for number in numbers:
        share = number / batches
        optimizer.learning_rate = rate * min(1, (number + 1) / RISE) * max(0.02, 1 - share)
        made = queue.get()
        if isinstance(made, Exception):
            raise made
        losses.append(float(model.train_on_batch(*made)))
        if number % 8 == 7:
            average = averaged(average, model.get_weights(), number)
        if number % 250 == 249 or number == batches - 1:
            log.append(_row(number, losses, start, model, average, report))
            losses = []
        if time.monotonic() - saved > 60 or number == batches - 1:
            state.save(number + 1, model, average, log)
            saved = time.monotonic()
    for maker in makers:
        maker.terminate()
    return average, log


def _row(number, losses, start, model, average, report):
    present = model.get_weights()
    model.set_weights(average)
    row = {
        "batches": number + 1,
        "examples": (number + 1) * BATCH,
        "seconds": round(time.monotonic() - start),
        "loss": round(float(np.mean(losses)), 4),
        **report(number, model),
    }
    model.set_weights(present)
    print(json.dumps(row), flush=True)
    return row


def score(model, scenes):
    "Cross-entropy and micro IoU at the best threshold of both answers, on held-out scenes."
    from insar_seg.patches.encoding import channels

    edges = np.linspace(0, 1, 101)
    tables = np.zeros((2, 2, 100))
    entropy = np.zeros(2)
    for e in scenes:
        x = channels(e.phase, e.coherence, ENCODING)[None]
        y = np.asarray(model.predict_on_batch(x))[0]
        for k in (0, 1):
            p = np.clip(y[..., k], 1e-6, 1 - 1e-6)
            yes = p[e.truth[..., k] == 1]
            no = p[e.truth[..., k] == 0]
            entropy[k] -= (np.log(yes).sum() + np.log(1 - no).sum()) / SIDE**2 / len(scenes)
            tables[k, 0] += np.histogram(no, edges)[0]
            tables[k, 1] += np.histogram(yes, edges)[0]
    row = {}
    for k, name in enumerate(("earthquake", "other")):
        no, yes = tables[k]
        hit = yes[::-1].cumsum()[::-1]
        iou = hit / (yes.sum() + no[::-1].cumsum()[::-1])
        row[name] = {
            "entropy": round(float(entropy[k]), 4),
            "iou": round(float(iou.max()), 4),
            "at": round(float(edges[iou.argmax()]), 2),
        }
    return row
