"""A web server with a few files."""

import http.server
import threading
import time


class FileServer:
    """A server on this machine: files by path, and the paths that were downloaded."""

    def __init__(self):
        self.files, self.requested, self.pause_s = {}, [], 0.0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                content = owner.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()

            def do_GET(self):
                owner.requested.append(self.path)
                time.sleep(owner.pause_s)
                self.do_HEAD()
                self.wfile.write(owner.files.get(self.path) or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def downloads_of(self, path):
        # torchvision requests an address twice: to follow redirections, and for the content.
        return self.requested.count(path) // 2

    def close(self):
        self.server.shutdown()
        self.server.server_close()
