"""Rendered footage of invented shops, in which everything is known: who stands where, who came in, who waits.

``people`` dresses people and walks them about, ``plan`` is the shop and its cameras, ``scenes`` the stories (one kind for each
thing that a camera must get right), ``truth`` what really happened in one, ``pictures`` draws it, ``detector`` errs as a person
detector errs. Everything follows from a seed. Only drawing needs OpenCV (the extra ``vision``).

``python -m producers.simulator.footage --video DIR`` writes scenes as films to look at.
"""
