"""From a wrapped Sentinel-1 interferogram to the area an earthquake has affected."""

__version__ = "0.1.0"

import os

import lazy_loader

# TensorFlow leaves oneDNN off on processors without AVX-512, where it is two to four times faster.
# It reads this once, when it is loaded; a value that the user has set stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# What most users call. Each name is imported when it is first used; the list is in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
