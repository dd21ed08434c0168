"""The small models that installed packages carry, and how they are run."""

import importlib.util
from pathlib import Path

import onnxruntime
from onnxruntime import InferenceSession

from deployments.errors import WeightsNotFound


def load_model(package: str, inner: str) -> InferenceSession:
    """Load the ONNX file `inner` of an installed package, which is not imported.

    It runs on the caller's thread alone, so that a call costs no other session's core.

    Raises:
        WeightsNotFound: the package or its file is not there.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    path = _find(package, inner)
    return InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


def _find(package: str, inner: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or []:
        if (path := Path(folder) / inner).is_file():
            return path
    reason = f"the package '{package.replace('_', '-')}' is not installed or not whole"
    raise WeightsNotFound("turn taking", f"{package}/{inner}", reason)
