"""The parts of compare.py: what is sent, who answers, and how load is made."""
