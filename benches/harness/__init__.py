"""The parts of compare.py, cluster.py and controller.py: what is sent, who answers, and how load is made."""
