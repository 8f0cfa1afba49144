"""Demand, and how sure we are of it: models behind one interface, the choice among them, their training and evaluation."""
