"""One thread: graphs this small only lose time to a second one."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
