"""The parts of compare.py and cluster.py: what is sent, who answers, and how load is made."""
