"""Loads one model and times it: the process that `kogata bench` starts for each round.

Run as a script: one JSON object on stdin, one line of JSON on stdout ("error" where it failed), and it ends. It also
ends when stdin closes, because then the process that asked has ended. Except for Core ML it imports nothing of Kogata:
it may run in another environment that has onnxruntime-genai.

Memory is the resident set of the whole process in bytes, with the pages of mapped files. Times are in seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Request = Mapping[str, Any]
Step = Callable[[Ids], int]

WARM_UP = 16  # tokens of the prompt before anything is timed, and the largest number of decoded ones after it
ENCODE_SECONDS = 1.0  # encoders are timed so long, within the next two limits
MIN_BATCHES, MAX_BATCHES = 3, 50
_ELEMENTS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_KILLED_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class OnnxModel:
    """An ONNX file in onnxruntime, on the CPU, as an app opens it: all optimizations, threads that spin."""

    def __init__(self, request: Request) -> None:
        import onnxruntime

        self._library, self._request = onnxruntime, request
        self.name = f"onnxruntime {onnxruntime.__version__}, CPU"

    def load(self) -> None:
        """Open the file."""
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._request["threads"]
        options.log_severity_level = 4  # fatal only; errors are raised
        providers = ["CPUExecutionProvider"]
        self._session = self._library.InferenceSession(self._request["model"], options, providers=providers)
        self._inputs = {value.name: value for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def start(self, length: int) -> Step:
        """An empty cache for a text of at most `length` tokens. The step takes `[q]` ids and gives the next token.

        A cache never leaves onnxruntime. Where the graph may write to the cache that it reads
        (`past_present_share_buffer`), it has its full length from the beginning.
        """
        shared, value_of = self._request["shared"], self._library.OrtValue.ortvalue_from_numpy
        cache: dict[str, Any] = {}
        for name, value in self._inputs.items():
            if name.startswith("past_key_values."):
                # a graph may leave the last axis open
                width = value.shape[3] if isinstance(value.shape[3], int) else self._request["head_dim"]
                shape = (1, value.shape[1], length if shared else 0, width)
                cache[name] = value_of(np.zeros(shape, _ELEMENTS[value.type]))
        past = 0

        def step(ids: Ids) -> int:
            nonlocal past
            total = past + len(ids)
            feeds = {
                "input_ids": ids[None],
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(past, total)[None],
            }
            # A binding doesn't keep numpy's memory alive: that of `given` and of the first cache must outlive the run.
            given = {name: value_of(array) for name, array in self._declared(feeds).items()} | cache
            binding = self._session.io_binding()
            for name, held in given.items():
                binding.bind_ortvalue_input(name, held)
            for name in self._outputs:
                own = cache.get(name.replace("present", "past_key_values", 1)) if shared else None
                binding.bind_ortvalue_output(name, own) if own is not None else binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
            made = dict(zip(self._outputs, binding.get_outputs(), strict=True))
            if not shared:
                cache.update({name: made[name.replace("past_key_values", "present", 1)] for name in cache})
            past = total
            return int(made["logits"].numpy()[0, -1].argmax())

        return step

    def encode(self, ids: Ids) -> None:
        """`[batch, n]` ids without padding: the sentence embeddings, or all outputs where the graph has none."""
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        wanted = [name for name in self._outputs if name == "sentence_embedding"] or self._outputs
        self._session.run(wanted, self._declared(feeds))

    def _declared(self, feeds: Mapping[str, Ids]) -> dict[str, Any]:
        kinds = {name: _INTEGERS[self._inputs[name].type] for name in feeds if name in self._inputs}
        return {name: feeds[name].astype(kind) for name, kind in kinds.items()}


class GenaiModel:
    """A folder with genai_config.json in onnxruntime-genai, with greedy search."""

    def __init__(self, request: Request) -> None:
        import onnxruntime_genai

        self._library, self._request = onnxruntime_genai, request
        self.name = f"onnxruntime-genai {onnxruntime_genai.__version__}, CPU"

    def load(self) -> None:
        """Open the folder."""
        config = self._library.Config(self._request["model"])
        options = {"session_options": {"intra_op_num_threads": self._request["threads"]}}
        config.overlay(json.dumps({"model": {"decoder": options}}))
        self._model = self._library.Model(config)

    def start(self, length: int) -> Step:
        """As `OnnxModel.start`. The generator feeds the tokens that it chose; the ids of later steps are these."""
        params = self._library.GeneratorParams(self._model)
        # min_length keeps an end token from ending the text before `length`
        params.set_search_options(
            max_length=length, min_length=length, do_sample=False, num_beams=1, batch_size=1, repetition_penalty=1.0
        )
        generator = self._library.Generator(self._model, params)

        def step(ids: Ids) -> int:
            if len(ids) > 1 or not generator.token_count():
                generator.append_tokens(ids.astype(np.int32))
            generator.generate_next_token()
            return int(generator.get_next_tokens()[0])

        return step

    def encode(self, ids: Ids) -> None:
        """Not of this library."""
        raise ValueError(f"onnxruntime-genai runs no encoders; asked for {ids.shape}")


def core_ml(request: Request) -> Any:
    """A Core ML program (macOS): see `CoreMLModel`."""
    from exporter.runners.bench.coreml_model import CoreMLModel

    return CoreMLModel(request)


MODELS: Mapping[str, Callable[[Request], Any]] = {"onnxruntime": OnnxModel, "genai": GenaiModel, "coreml": core_ml}


def measured(model: Any, request: Request) -> dict[str, Any]:
    """The answer to a request: memory, load, and a row for each context, or for each context and batch."""
    libraries = resident_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    model.load()
    load = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    memory = {"libraries": libraries, "loaded": resident_bytes(), "load_peak": peak_bytes()}
    rng = np.random.default_rng(request["seed"])
    times = decoder_times if request["kind"] == "decoder" else encoder_times
    rows = times(model, request, rng)
    return {"runner": model.name, "load": load, "memory": memory | {"peak": peak_bytes()}, "rows": rows}


def decoder_times(model: Any, request: Request, rng: np.random.Generator) -> list[dict[str, Any]]:
    """For each context: a prompt of random tokens of that length, then `tokens` decoded ones.

    answer: the tokens that it chose, one more than `tokens`, because the prompt's pass gives one already.
    """
    contexts: Sequence[int] = request["contexts"]
    first = min(WARM_UP, *contexts)
    generated(model, rng.integers(0, request["vocabulary"], first), min(first, request["tokens"]))
    rows = []
    for context in contexts:
        prefill, decode, answer = generated(model, rng.integers(0, request["vocabulary"], context), request["tokens"])
        row = {"context": context, "prefill": prefill, "decode": decode, "tokens": len(answer) - 1, "answer": answer}
        rows.append(row | {"peak": peak_bytes()})
    return rows


def generated(model: Any, prompt: Ids, tokens: int) -> tuple[float, float, list[int]]:
    """Seconds of the prompt's pass, seconds of `tokens` further passes, and the tokens that were chosen."""
    step = model.start(len(prompt) + tokens + 1)
    begin = time.perf_counter()
    answer = [step(prompt)]
    prefilled = time.perf_counter()
    for _ in range(tokens):
        answer.append(step(np.asarray(answer[-1:], np.int64)))
    return prefilled - begin, time.perf_counter() - prefilled, answer


def encoder_times(model: Any, request: Request, rng: np.random.Generator) -> list[dict[str, Any]]:
    """For each context and batch: batches of random texts of that length for about `ENCODE_SECONDS`, after one that
    isn't timed.
    """
    rows = []
    for context in request["contexts"]:
        for batch in request["batches"]:
            ids = rng.integers(0, request["vocabulary"], (batch, context))
            model.encode(ids)
            count, begin = 0, time.perf_counter()
            while count < MIN_BATCHES or (count < MAX_BATCHES and time.perf_counter() - begin < ENCODE_SECONDS):
                model.encode(ids)
                count += 1
            seconds = time.perf_counter() - begin
            rows.append({"context": context, "batch": batch, "texts": count * batch, "seconds": seconds})
    return rows


def resident_bytes() -> int:
    """Resident set of this process."""
    with contextlib.suppress(OSError):
        return _status("VmRSS")
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return int(told.stdout) * 1024


def peak_bytes() -> int:
    """The largest resident set so far. On Linux, getrusage also counts the process that started this one."""
    with contextlib.suppress(OSError):
        return _status("VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _end_with_parent(seconds: float) -> None:
    """End when stdin closes, when the parent dies, and after `seconds`, also inside a long call into a library."""
    with contextlib.suppress(OSError, AttributeError):  # not on macOS
        ctypes.CDLL(None).prctl(_KILLED_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer one request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not mix with the answer
    line = sys.stdin.buffer.readline()
    request = json.loads(line)
    _end_with_parent(request["seconds"])
    try:
        model = MODELS[request["engine"]](request)
        answer = {"runner": model.name} if request.get("probe") else measured(model, request)
    except ImportError as error:
        answer = {"error": str(error), "missing": True}
    except MemoryError:
        answer = {"error": "the machine ran out of memory"}
    except Exception as error:  # runtimes have many error classes without a common base
        answer = {"error": f"{type(error).__name__}: {error}".strip() or type(error).__name__}
    os.write(answers, json.dumps(answer).encode() + b"\n")
    os._exit(0)  # a runtime's own clean-up at exit may take long, or crash


if __name__ == "__main__":
    if sys.path[:1] == [os.path.dirname(os.path.abspath(__file__))]:
        del sys.path[0]  # the modules beside this script must not hide those of libraries
    main()
