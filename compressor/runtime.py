"""Opening ONNX files in ONNX Runtime, with one line for what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from compressor.errors import InputError

ort.disable_telemetry_events()  # builds for Windows send some, which nobody asked for

CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Setting:
    """Where a file runs: on which of ONNX Runtime's providers, and on how many threads of the CPU."""

    threads: int = 1
    provider: str = CPU

    @property
    def one_thread(self) -> bool:
        """Whether all the work is done by the thread that calls."""
        return self.threads == 1 and self.provider == CPU

    @property
    def device(self) -> str:
        """Where inputs and outputs are kept between calls: a GPU that has a memory of its own, else the CPU."""
        return "cuda" if self.short in ("cuda", "tensorrt", "nvtensorrtrtx") else "cpu"

    @property
    def short(self) -> str:
        """``cuda`` for ``CUDAExecutionProvider``."""
        return self.provider.removesuffix("ExecutionProvider").lower()


ONE_THREAD = Setting()


def provider_named(name: str) -> str:
    """An installed provider by its name, short or whole, in any case. Raises ``InputError`` listing them."""
    available = {provider: Setting(provider=provider).short for provider in ort.get_available_providers()}
    for provider, short in available.items():
        if name.lower() in (short, provider.lower()):
            return str(provider)
    raise InputError(f"this ONNX Runtime ({ort.__version__}) has no provider {name!r}: {', '.join(available.values())}")


def session_options(threads: int = 1) -> ort.SessionOptions:
    """Everything the deployed file gets: all optimisations, no log. Threads do not wait spinning for the next call."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 4
    return options


def literal_options() -> ort.SessionOptions:
    """The file operator by operator, as it is written: no kernels that do the work of several."""
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def open_session(
    model: bytes | Path, options: ort.SessionOptions | None = None, provider: str = CPU
) -> ort.InferenceSession:
    """A session on ``provider``. Raises ``InputError`` in one line for what is no file, no ONNX, or not runnable."""
    title = title_of(model)
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{title}: {'is no file' if model.exists() else 'no such file'}")
    if (model.stat().st_size if isinstance(model, Path) else len(model)) == 0:
        raise InputError(f"{title}: the file is empty")
    source = str(model) if isinstance(model, Path) else model
    try:
        session = ort.InferenceSession(source, options or session_options(), providers=[provider])
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        raise InputError(f"{title}: ONNX Runtime cannot load it: {_first_line(error)}") from None
    if provider not in session.get_providers():  # it says nothing and takes the CPU
        raise InputError(f"{title}: ONNX Runtime cannot set up {provider} on this machine")
    return session


def placement(model: Path, setting: Setting) -> tuple[int, int]:
    """How many nodes of a file its provider takes, and how many there are once it is optimised.

    (0, 0) for the CPU, which takes whatever no other does, and where this ONNX Runtime does not tell.
    """
    if setting.provider == CPU or not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        return 0, 0
    options = session_options(setting.threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    parts = open_session(model, options, setting.provider).get_provider_graph_assignment_info()
    counts = [(part.ep_name, len(part.get_nodes())) for part in parts]
    return sum(count for name, count in counts if name == setting.provider), sum(count for _, count in counts)


@contextmanager
def running(title: str) -> Iterator[None]:
    """Raises ``InputError`` in one line for whatever keeps ONNX Runtime from running a model it has loaded."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        raise InputError(f"{title}: ONNX Runtime cannot run it: {_first_line(error)}") from None


def title_of(model: bytes | Path) -> str:
    """What messages call a model."""
    return str(model) if isinstance(model, Path) else "the ONNX model"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
