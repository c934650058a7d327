"""Palettizes matrices with Apple's coreai-opt. It runs in an environment with coreai-opt and without Kogata.

    PYTHON coreai_worker.py FOLDER

FOLDER has weights.npz (layer → float32 `[out, in]`), optionally sensitivities.npz (the same layers), and work.json
{"bits", "groups": {layer → group size or null}}. The results are decoded.npz and done.json {"seconds"} in FOLDER.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from coreai_opt.palettization import KMeansPalettizer, KMeansPalettizerConfig, ModuleKMeansPalettizerConfig
from coreai_opt.palettization.spec import PalettizationSpec, PerGroupedChannelGranularity, PerTensorGranularity


class Layers(torch.nn.Module):
    """A linear layer for each matrix. Its input is as wide as the widest layer."""

    def __init__(self, weights):
        super().__init__()
        for name, weight in weights.items():
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = torch.from_numpy(weight)
            self.add_module(name, linear)

    def forward(self, x):
        return [layer(x[:, : layer.in_features]) for layer in self.children()]


def config_of(bits, groups):
    def module(size):
        granularity = PerTensorGranularity() if size is None else PerGroupedChannelGranularity(axis=0, group_size=size)
        spec = PalettizationSpec(n_bits=bits, granularity=granularity)
        return ModuleKMeansPalettizerConfig(op_state_spec={"weight": spec})

    return KMeansPalettizerConfig(
        global_config=None, module_name_configs={name: module(size) for name, size in groups.items()}
    )


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work = json.loads((folder / "work.json").read_text())
    weights = dict(np.load(folder / "weights.npz"))
    model = Layers(weights).eval()
    sensitive = None
    if (folder / "sensitivities.npz").exists():
        sensitive = folder / "sensitivities.pt"
        torch.save(
            {
                f"{name}.parametrizations.weight.original": torch.from_numpy(rows)
                for name, rows in np.load(folder / "sensitivities.npz").items()
            },
            sensitive,
        )
    palettizer = KMeansPalettizer(model, config_of(work["bits"], work["groups"]))
    example = (torch.zeros(1, max(weight.shape[1] for weight in weights.values())),)
    start = time.perf_counter()
    model = palettizer.prepare(example, sensitivity_path=None if sensitive is None else str(sensitive))
    seconds = time.perf_counter() - start
    with torch.no_grad():
        decoded = {name: model.get_submodule(name).weight.numpy() for name in weights}
    np.savez(folder / "decoded.npz", **decoded)
    (folder / "done.json").write_text(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
