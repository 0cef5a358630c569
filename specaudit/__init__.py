"""Audits neural networks for spectral norms and Lipschitz bounds."""

__version__ = "0.1.0"
