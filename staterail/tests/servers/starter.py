"""A caller that does what callers should: it asks again with the same key until it is answered."""

import contextlib
import threading
import time
from uuid import uuid4

import httpx


class Starter(threading.Thread):
    """Starts runs one after the other; each with a key of its own, again and again until it is acknowledged."""

    def __init__(self, api, flow, *, every=0.01):
        super().__init__(daemon=True)
        self.api, self.flow, self.every, self.over = api, flow, every, threading.Event()
        self.keys, self.acknowledged, self.refused, self.broken, self.slowest = [], [], [], [], 0.0

    def run(self):
        while not self.over.is_set():
            key = str(uuid4())
            self.keys.append(key)
            self.acknowledged.append(self.until_acknowledged(key))
            self.over.wait(self.every)

    def until_acknowledged(self, key):
        while True:
            began = time.monotonic()
            try:
                answer = self.api.request(
                    "POST", f"/api/v1/workflows/{self.flow}/runs", {"input": {}}, Idempotency_Key=key
                )
            except httpx.TransportError as error:
                self.broken.append(error)
                continue
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)
            if answer.status_code in (200, 201):
                return answer.json()["id"]
            self.refused.append((answer.status_code, answer.json()["code"], "Retry-After" in answer.headers))
            self.over.wait(0.02)


@contextlib.contextmanager
def starting(api, flow):
    starter = Starter(api, flow)
    starter.start()
    try:
        yield starter
    finally:
        starter.over.set()
        starter.join()
