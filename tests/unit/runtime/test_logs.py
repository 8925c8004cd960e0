"""What each log line says of where it comes from."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from services.shared.runtime.logs import configure_logs, get_log


@pytest.fixture(autouse=True)
def configuration_left_as_it_was() -> Iterator[None]:
    before, handlers = structlog.get_config(), list(logging.getLogger().handlers)
    yield
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


def test_line_names_the_service_whichever_thread_writes_it(capsys: pytest.CaptureFixture[str]):
    configure_logs("coordinator", level="info", as_json=True)
    get_log("runtime").info("ready")
    # As gRPC asks for renewed certificates.
    other = threading.Thread(target=lambda: get_log("tls").info("certificate files read again"))
    other.start()
    other.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["service"], line["part"]) for line in lines] == [("coordinator", "runtime"), ("coordinator", "tls")]
