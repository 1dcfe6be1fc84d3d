"""Fixed thread count: sums in another order differ in the last digits, and tests run beside each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
