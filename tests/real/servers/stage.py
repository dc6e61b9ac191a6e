"""What every server here stands behind: a door that notes each request of keyfob's, and a person and an administrator who
do what they are told by lines of JSON on standard input.

A server is a module with `TITLE`, `start(origin, folder)`, which gives the port that it listens on and what keyfob's profile
says of it, and the functions `approve(code)`, `deny(code)`, `expire(code)` and `revoke()`.

    python3 stage.py NAME FOLDER
"""

import http.client
import importlib
import json
import sys
import threading
import urllib.parse
import wsgiref.simple_server
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import ThreadingMixIn

requests = []
state = {"upstream": 0, "down": False, "crowd": 0}


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
        grant = form.get("grant_type", "").rsplit(":", 1)[-1]
        path = urllib.parse.urlsplit(self.path).path
        asked = f"{self.command} {path} {grant}".rstrip()
        if state["down"]:
            requests.append(f"{asked} unanswered")
            self.close_connection = True
            return
        while grant == "device_code" and state["crowd"]:
            # Another program that polls with the same code.
            state["crowd"] -= 1
            self.forward(body)
        status, headers, answer = self.forward(body)
        requests.append(f"{asked} {status} {said(answer)}".rstrip())
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = answer

    def forward(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", state["upstream"])
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.getheaders(), reply.read()

    def log_message(self, *_words):
        pass


class Doors(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *words):
        # A program that is killed leaves its connection.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*words)


def said(answer):
    """The `error` of an OAuth answer."""
    try:
        answer = json.loads(answer)
        return answer.get("error", "") if isinstance(answer, dict) else ""
    except ValueError:
        return ""


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_words):
        pass


class Threads(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


def listen(application):
    """Serves a WSGI application on a port of its own."""
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, application, Threads, Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def main(name, folder):
    door = Doors(("127.0.0.1", 0), Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{door.server_port}"
    server = importlib.import_module(name)
    # What the server prints is no answer of ours.
    answers, sys.stdout = sys.stdout, sys.stderr
    state["upstream"], profile = server.start(origin, folder)
    print(json.dumps({"title": server.TITLE, "origin": origin, "profile": profile}), file=answers, flush=True)
    for line in sys.stdin:
        what, *values = json.loads(line)
        if what == "requests":
            done, requests[:] = requests[:], []
        elif what in state:
            state[what], done = values[0], None
        else:
            done = getattr(server, what)(*values)
        print(json.dumps(done), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
