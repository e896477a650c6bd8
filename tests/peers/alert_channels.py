"""Plays chat robots, a webhook and a mail server for the tests of alerts, each as its makers publish it.

Prints its ports as one JSON line, then one JSON line for each message that it took or refused.
"""

import base64
import hashlib
import hmac
import json
import socket
import sys
import time
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from aiosmtpd.controller import Controller
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

DINGTALK = "SECdingtalk"
FEISHU = "feishu-secret"
WEBHOOK = "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM="


def say(**line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


def signed(key, text):
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


class Robots(BaseHTTPRequestHandler):
    broken = set()

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = urlparse(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        raw = self.rfile.read(int(self.headers["content-length"]))
        body = json.loads(raw)
        kind = asked.path.strip("/")
        if kind.startswith("break/"):
            self.broken.add(kind.removeprefix("break/"))
            return self.answer(200, {})
        if kind.startswith("mend/"):
            self.broken.discard(kind.removeprefix("mend/"))
            return self.answer(200, {})
        if kind in self.broken:
            return self.answer(500, {"error": "broken"})
        status, answer, text = getattr(self, kind)(query, body, raw)
        if text is None:
            say(channel=kind, refused=True)
        else:
            say(channel=kind, text=text)
        self.answer(status, answer)

    def wecom(self, query, body, _):
        if query.get("key") != "wecom-key" or body.get("msgtype") != "text":
            return 200, {"errcode": 93000, "errmsg": "invalid webhook url"}, None
        return 200, {"errcode": 0, "errmsg": "ok"}, body["text"]["content"]

    def dingtalk(self, query, body, _):
        stamp = query.get("timestamp", "0")
        fresh = abs(time.time() * 1000 - int(stamp)) < 3_600_000
        if query.get("sign") != signed(DINGTALK, f"{stamp}\n{DINGTALK}") or not fresh:
            return 200, {"errcode": 310000, "errmsg": "sign not match"}, None
        return 200, {"errcode": 0, "errmsg": "ok"}, body["text"]["content"]

    def feishu(self, _, body, __):
        stamp = body.get("timestamp", "")
        if body.get("sign") != signed(f"{stamp}\n{FEISHU}", ""):
            return 200, {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"}, None
        return 200, {"code": 0, "msg": "success"}, body["content"]["text"]

    def webhook(self, _, body, raw):
        try:
            Webhook(WEBHOOK).verify(raw, dict(self.headers))
        except WebhookVerificationError:
            return 401, {}, None
        say(channel="webhook-body", text=body["type"], code=body["episode"]["code"])
        return 200, {}, body["message"]

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        mail = message_from_bytes(envelope.content, policy=policy.default)
        text = mail.get_body(("plain",)).get_content()
        say(channel="email", text=text, subject=mail["subject"], to=envelope.rcpt_tos)
        return "250 taken"


http = ThreadingHTTPServer(("127.0.0.1", 0), Robots)


def free_port():
    # The library's controller connects to itself, and so must know its port before.
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


mail = Controller(Mailbox(), hostname="127.0.0.1", port=free_port())
mail.start()
say(http=http.server_address[1], smtp=mail.port)
try:
    http.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
