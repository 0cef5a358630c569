"""All hostile and odd files there are."""

from tests.hostile import (
    damaged_files,
    exported_files,
    graph_files,
    onnx_files,
    plain_files,
    safetensors_files,
    torch_code,
    torch_pickles,
    torch_zips,
    value_files,
)

CASES = [
    *plain_files.CASES,
    *damaged_files.CASES,
    *safetensors_files.CASES,
    *onnx_files.CASES,
    *graph_files.CASES,
    *value_files.CASES,
    *exported_files.CASES,
    *torch_code.CASES,
    *torch_zips.CASES,
    *torch_pickles.CASES,
]
