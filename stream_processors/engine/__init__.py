"""The engine: batches for Faust, state, dead letters and the ClickHouse sink. It knows how records flow, not what they
mean.
"""
