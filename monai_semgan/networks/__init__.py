"""Layers, blocks and whole networks in plain PyTorch."""

__all__: list[str] = []
