"""One torch thread a test: networks this small are faster so, and tests that run beside others do not wait for cores."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
