"""Shops that do not exist, simulated down to each step and receipt, with the true answers.

``shops`` invents the shops, ``traffic`` what happens in one of them on one day, ``faults`` what goes wrong on the way,
``stream`` puts it in sending order, and ``answers`` computes what every answer must be from a record of what was sent.
Everything follows from a seed; nothing here sends.
"""
