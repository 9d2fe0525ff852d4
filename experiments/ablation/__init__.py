"""Methods without and with the losses, over several seeds: the runs, and what is written
of them.
"""
