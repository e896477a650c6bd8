"""A REST server made with Flask and Authlib, as the tests of the connector `rest` ask it.

Each test has a space of its own, named in the path. `put`, `set` and `log` are for the test; the rest
is what sources offer. Prints its port and serves until its input ends.
"""

import hashlib
import hmac
import json
import os
import sys
import threading
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # on the loopback address

app = Flask(__name__)
app.json.sort_keys = False
spaces = {}
lock = threading.Lock()


class Space:
    def __init__(self):
        self.rows = {}
        self.flags = {}
        self.log = []
        self.tokens = {}
        self.taken = set()


def space(name):
    with lock:
        return spaces.setdefault(name, Space())


@app.before_request
def note():
    parts = request.path.split("/")
    if len(parts) > 3 and parts[3] not in ("put", "set", "log"):
        space(parts[2]).log.append(f"{request.method} {request.full_path.rstrip('?')}")


@app.post("/s/<name>/put")
def put(name):
    for row in request.get_json():
        space(name).rows[row["key_no"]] = row
    return "", 204


@app.post("/s/<name>/set")
def set_flags(name):
    space(name).flags.update(request.get_json())
    return "", 204


@app.get("/s/<name>/log")
def log(name):
    return jsonify(space(name).log)


def wanted(name):
    here = space(name)
    since, until = request.values.get("from", ""), request.values.get("to", "9")
    rows = [row for row in here.rows.values() if row["stamp"] is None or since <= row["stamp"] <= until]
    rows = [row for row in rows if row["key_no"] not in here.taken]
    return sorted(rows, key=lambda row: (row["stamp"] or "", row["key_no"]))


def shown(row, whole):
    return {key: value for key, value in row.items() if whole or key != "items"}


def page(name, rows, start, size):
    flags = space(name).flags
    size = min(size, flags.get("most", 1000))
    if flags.get("ignore_paging"):
        start = 0
    total = flags.get("total", len(rows))
    listed = [shown(row, flags.get("whole", False)) for row in rows[start : start + size]]
    return {"code": flags.get("code", 0), "msg": flags.get("msg", "ok"), "data": {"total": total, "list": listed}}


@app.get("/s/<name>/list")
def by_page(name):
    size = int(request.args.get("size", 1000))
    return jsonify(page(name, wanted(name), (int(request.args.get("page", 1)) - 1) * size, size))


@app.get("/s/<name>/offset")
def by_offset(name):
    return jsonify(page(name, wanted(name), int(request.args["offset"]), int(request.args["size"])))


@app.get("/s/<name>/cursor")
def by_cursor(name):
    rows, start = wanted(name), int(request.args.get("cursor", "c0")[1:])
    answer = page(name, rows, start, 3)
    answer["data"]["next"] = f"c{start + 3}" if start + 3 < len(rows) else None
    return jsonify(answer)


@app.get("/s/<name>/link")
def by_link(name):
    rows, number = wanted(name), int(request.args.get("page", 1))
    answer = jsonify([shown(row, True) for row in rows[(number - 1) * 3 : number * 3]])
    host = space(name).flags.get("link_host", request.host)
    if number * 3 < len(rows):
        answer.headers["Link"] = f'<http://{host}/s/{name}/link?page=1>; rel="first", ' + (
            f'<http://{host}/s/{name}/link?page={number + 1}>; rel="next"'
        )
    return answer


@app.get("/s/<name>/items/<key>")
def items(name, key):
    if key in space(name).flags.get("failing", []):
        return jsonify({"code": 9, "msg": "broken for " + key})
    row = space(name).rows[key]
    return jsonify({"code": 0, "data": [{"item": item} for item in row["items"]]})


@app.post("/s/<name>/login")
def login(name):
    asked = request.get_json()
    if asked.get("password") != "open sesame":
        return jsonify({"code": 401, "msg": "no"})
    here = space(name)
    token = f"t{len(here.tokens) + 1}"
    here.tokens[token] = here.flags.get("uses", 1000)
    return jsonify({"code": 0, "data": {"token": token, "seconds": 3600}})


@app.get("/s/<name>/secured")
def secured(name):
    here = space(name)
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if here.tokens.get(token, 0) <= 0:
        # Some say it with a status, some with a code.
        return jsonify({"code": 40101, "msg": "expired"}), here.flags.get("expired_status", 401)
    here.tokens[token] -= 1
    return by_page(name)


@app.get("/s/<name>/basic")
def basic(name):
    given = request.authorization
    if not given or (given.username, given.password) != ("hisync", "open sesame"):
        return "", 401
    return by_page(name)


@app.get("/s/<name>/signed")
def signed(name):
    params = "&".join(sorted(f"{key}={value}" for key, value in request.args.items()))
    at, nonce = request.headers["X-Time"], request.headers["X-Nonce"]
    assert abs(int(at) - time.time()) < 300 and len(nonce) == 32
    right = hmac.new(b"open sesame", f"{params}{at}{nonce}".encode(), hashlib.sha256).hexdigest().upper()
    if not hmac.compare_digest(right, request.headers["X-Sign"]):
        return jsonify({"code": 7, "msg": "signature"})
    return by_page(name)


@app.post("/s/<name>/xml")
def as_xml(name):
    from lxml import etree

    asked = etree.fromstring(request.get_data())
    answer = etree.Element("Response")
    etree.SubElement(answer, "returnCode").text = "T"
    for row in space(name).rows.values():
        if row["name"] == asked.findtext("name"):
            element = etree.SubElement(answer, "Item", key_no=row["key_no"])
            etree.SubElement(element, "name").text = row["name"]
    body = etree.tostring(answer, encoding=space(name).flags.get("encoding", "utf-8"), xml_declaration=True)
    return Response(body, content_type="text/xml")


@app.post("/s/<name>/form")
def as_form(name):
    rows = [row for row in space(name).rows.values() if row["name"] == request.form["name"]]
    return jsonify({"code": 0, "data": {"total": len(rows), "list": [shown(row, True) for row in rows]}})


@app.post("/s/<name>/taken")
def taken(name):
    here, asked = space(name), request.get_json()
    accepted = [key for key in asked["ids"] if key not in here.flags.get("refuses", [])]
    if here.flags.get("mark_fails"):
        return "", 500
    here.taken.update(accepted)
    return jsonify({"code": 0, "data": {"accepted": accepted}})


@app.get("/s/<name>/file/<key>")
def file(name, key):
    kind = space(name).flags.get("file", "pdf")
    if kind == "missing":
        return "", 404
    if kind == "page":
        return Response("<!DOCTYPE html><html>log in</html>", content_type="text/html")
    return Response(b"%PDF-1.4\x00" + key.encode(), content_type="application/pdf")


@app.get("/s/<name>/raw")
def raw(name):
    flags = space(name).flags
    body = bytes.fromhex(flags["body"])
    headers = {"Content-Type": flags.get("type", "application/json"), **flags.get("headers", {})}
    return Response(body, status=flags.get("status", 200), headers=headers)


@app.get("/s/<name>/moved")
def moved(name):
    return "", 302, {"Location": f"/s/{name}/list"}


class Client:
    """The one OAuth client that is known."""

    client_id = "hisync"

    def check_client_secret(self, secret):
        return secret == "open-sesame"

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant):
        return grant == "client_credentials"

    def get_allowed_scope(self, scope):
        return scope


class Token(dict):
    def is_expired(self):
        return self["uses"] <= 0

    def is_revoked(self):
        return False

    def get_scope(self):
        return self.get("scope", "")


issued = {}


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class Validator(BearerTokenValidator):
    def authenticate_token(self, token_string):
        return issued.get(token_string)


oauth = AuthorizationServer(
    app,
    query_client=lambda client_id: Client() if client_id == "hisync" else None,
    save_token=lambda token, request: issued.update({token["access_token"]: Token(token, uses=2)}),
)
oauth.register_grant(ClientCredentials)
protector = ResourceProtector()
protector.register_token_validator(Validator())


@app.post("/s/<name>/oauth/token")
def oauth_token(name):
    return oauth.create_token_response()


@app.get("/s/<name>/oauth/list")
@protector("reports")
def oauth_list(name):
    issued[request.headers["Authorization"].split()[1]]["uses"] -= 1
    return by_page(name)


class Quiet(WSGIRequestHandler):
    def log_request(self, *args):
        pass


server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
