"""Classes known by a handful of photographs each: how well a network tells them, and
labels for photographs that nobody has labelled.
"""
