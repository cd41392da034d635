__version__ = "0.1.0"

import os

# TensorFlow leaves oneDNN off on processors without AVX-512, where it is two to four times faster.
# It reads this once, when it is loaded; a value that the user has set stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
