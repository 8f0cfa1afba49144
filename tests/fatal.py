"""Fatal errors of librdkafka's, as a broker that has lost records causes them."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka
from confluent_kafka import KafkaError

from aisleflow.clients import LastingProducer

# Behind CPython's head of an object, confluent_kafka's begin with their handle.
HANDLE_AT = object.__basicsize__


def give_up(producer: LastingProducer) -> None:
    """Make librdkafka give its producer up, by the function that it has for tests."""
    (library,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    handle = ctypes.c_void_p.from_address(id(producer._producer) + HANDLE_AT)
    fatal_error = ctypes.CDLL(str(library)).rd_kafka_test_fatal_error
    fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
    code = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert fatal_error(handle, code, b"made by a test") == 0
