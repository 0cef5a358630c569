"""A conformance suite for the norms of convolutions.

`cases.py` is the table: each `Case` is a convolution, transposed or not, on inputs of one
size, with padding and groups, in one to three dimensions. `reference.py` writes the map out
as a matrix, by pushing the identity through onnxruntime; its largest singular value is the
truth. `test_conformance.py` holds an implementation against it.

To run it on an implementation of your own, name a function::

    SPECAUDIT_CONVOLUTION=my_package.my_module:bracket python -m pytest tests/convolutions

It is called as ``bracket(kernel, case)`` with a float64 array in the layout of ONNX, (out,
in/group, k…) or (in, out/group, k…) for a transposed convolution, and returns numbers
``(lower, upper)`` that are to hold the norm of the map; an implementation that knows an
upper bound only returns 0 for the first. Where ``case.input`` is None the upper number is to
hold for inputs of every size.
"""
