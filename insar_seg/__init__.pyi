from .earthquakes.catalogue import study_events
from .evaluation.pixels import dice, iou, precision, recall
from .events.event import run_event
from .interferograms.archive import Archive
from .interferograms.interferogram import Interferogram, multilook, plot_phase
from .interferograms.products import read_product
from .maps.mapper import map_interferogram
from .maps.predictor import load_predictor
from .masks.truth import truth_masks
from .masks.twin import simulate_archive
from .pipeline.leaderboard import evaluate_predictions
from .pipeline.stages import run_study
from .simulation.scene import simulate_scene

__version__: str
__all__ = [
    "Archive",
    "Interferogram",
    "dice",
    "evaluate_predictions",
    "iou",
    "load_predictor",
    "map_interferogram",
    "multilook",
    "plot_phase",
    "precision",
    "read_product",
    "recall",
    "run_event",
    "run_study",
    "simulate_archive",
    "simulate_scene",
    "study_events",
    "truth_masks",
]
