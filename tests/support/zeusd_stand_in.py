"""zeusd's HTTP protocol on a Unix socket, with two packages of known power.

As in zeusd's ``src/routes/cpu.rs`` and ``src/devices/cpu/rapl.rs``: energies are microjoules since
the hardware's own start plus one range for each wrap seen since zeusd's start; ``psys`` (the last
zone) is counted as a CPU, too; unknown fields are a 400.
"""

import http.server
import json
import os
import socketserver
import threading
import time
from urllib.parse import parse_qs, urlsplit

RANGE_J = 262_143.328850


class ZeusdStandIn:
    """A zeusd in a thread; ``fault`` breaks its answers: refuse, 500, wrong json, hang, no cpu."""

    def __init__(
        self, path, *, power_w=(40.0, 60.0), dram_w=(4.0, 6.0), start_j=1000.0, newest=True
    ):
        self.path, self.power_w, self.dram_w = str(path), power_w, dram_w
        self.fault, self.groups, self.newest = "", ["gpu-read", "cpu-read"], newest
        self.requests = []
        self.wraps_before = 0
        self.late_s = 0.0
        """Time after which a wrap is seen, as by versions that look for it once per second."""
        self._start_s, self._start_j = time.monotonic(), start_j
        self._wraps = {}
        self._last_j = {}
        self.start()

    def start(self):
        self._wraps.clear()
        self._last_j.clear()
        self._server = _Server(self.path, _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def restart(self, away_s=0.0):
        self.stop()
        os.unlink(self.path)
        self.wraps_before = 0
        time.sleep(away_s)
        self.start()

    def energy_uj(self, name, power_w):
        own_j = sum(map(ord, name)) % 7  # two counters are never equal by chance
        raw_j = (self._start_j + own_j + power_w * (time.monotonic() - self._start_s)) % RANGE_J
        if raw_j < self._last_j.get(name, 0.0):
            self._wraps.setdefault(name, []).append(time.monotonic())
        self._last_j[name] = raw_j
        seen = [t for t in self._wraps.get(name, ()) if t <= time.monotonic() - self.late_s]
        return round(1e6 * (raw_j + (self.wraps_before + len(seen)) * RANGE_J))

    def answer(self, url):
        """Return the status and the body of an answer."""
        parts = urlsplit(url)
        powers = [*self.power_w, sum(self.power_w) + 30.0]
        drams = [*self.dram_w, *[None] * (len(powers) - len(self.dram_w))]
        if parts.path == "/discover":
            ids = list(range(len(powers)))
            told = [{"id": i, "dram_available": drams[i] is not None} for i in ids]
            cpus = {"cpus": told} if self.newest else {
                "cpu_ids": ids, "dram_available": [one["dram_available"] for one in told]
            }  # fmt: skip
            content = {"gpus": [], "enabled_api_groups": self.groups, "auth_required": False}
            return 200, json.dumps(content | cpus)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path != "/cpu/get_cumulative_energy" or set(query) != {"cpu_ids", "cpu", "dram"}:
            return 400, ""
        ids = [int(i) for i in query["cpu_ids"].split(",")]
        if max(ids) >= len(powers):
            return 400, json.dumps({"error": "CPU not found"})
        return 200, json.dumps(
            {
                str(i): {
                    "cpu_energy_uj": self.energy_uj(f"cpu{i}", powers[i]),
                    "dram_energy_uj": None
                    if drams[i] is None
                    else self.energy_uj(f"dram{i}", drams[i]),
                }
                for i in ids
            }
        )


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def _handler(zeusd):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            zeusd.requests.append(self.path)
            fault = zeusd.fault
            if fault == "hang":
                time.sleep(30)
            if fault == "refuse":
                self.connection.close()
                return
            status, body = zeusd.answer(self.path)
            if fault == "500":
                status, body = 500, json.dumps({"error": "RAPL"})
            if fault == "wrong json":
                body = body[: len(body) // 2]
            if fault == "no cpu":
                body = "{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def address_string(self):
            return "socket"

        def log_message(self, *_):
            pass

    return Handler
