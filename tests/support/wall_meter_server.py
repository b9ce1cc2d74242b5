"""A meter at the wall on a local HTTP server: known power, in the formats of several makers."""

import http.server
import json
import threading
import time


class WallMeterServer:
    """A server whose outlet draws ``power_w(seconds since start)`` watts.

    ``fault`` breaks its answers: 500, no meter, hang, away.
    """

    def __init__(self, power_w=lambda _: 150.0, *, step_wh=0.001):
        self._power_w, self._step_wh = power_w, step_wh
        self.fault, self.authorization = "", None
        self.start_s = time.monotonic()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def energy_j(self, start_s, end_s):
        """Return the true energy between two times on the monotonic clock."""
        step_s = 0.001
        count = round((end_s - start_s) / step_s)
        times = (start_s - self.start_s + step_s * (i + 0.5) for i in range(count))
        return sum(map(self._power_w, times)) * step_s

    def answer(self, path):
        """Return the body of an answer."""
        power_w = self._power_w(time.monotonic() - self.start_s)
        energy_wh = 1234.5 + self.energy_j(self.start_s, time.monotonic()) / 3600
        energy_wh = self._step_wh * (energy_wh // self._step_wh)
        watts = round(power_w, 1)
        content = {
            "/rpc/Switch.GetStatus?id=0": {
                "id": 0, "source": "init", "output": True, "apower": watts, "voltage": 231.0,
                "aenergy": {"total": energy_wh, "by_minute": [0.0, 0.0, 0.0], "minute_ts": 1},
            },
            "/cm?cmnd=Status%208": {
                "StatusSNS": {
                    "Time": "2026-01-01T00:00:00",
                    "ENERGY": {"Total": round(energy_wh / 1000, 3), "Power": round(power_w)},
                }
            },
            "/watts": watts,
        }[path]  # fmt: skip
        return json.dumps(content)


def _handler(server):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.authorization = self.headers.get("Authorization")
            if server.fault == "hang":
                time.sleep(30)
            if server.fault == "away":
                self.connection.close()
                return
            body = "<html>Log in</html>" if server.fault == "no meter" else server.answer(self.path)
            self.send_response(500 if server.fault == "500" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    return Handler
