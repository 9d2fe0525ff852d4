"""The other side in PyTorch, written as the published program computes it."""
