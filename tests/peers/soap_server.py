"""A SOAP service made with spyne, as the tests of the connector `soap` ask it, in both versions.

Each test has a space of its own, named by the parameter `space`. `/put`, `/set` and `/log` are for the
test; the rest are operations. Prints its port and serves until its input ends.
"""

import json
import logging
import sys
import threading
from xml.sax.saxutils import escape

from lxml import etree
from spyne import Application, Array, ComplexModel, Fault, Integer, ServiceBase, Unicode, rpc
from spyne.protocol.soap import Soap11, Soap12
from spyne.server.wsgi import WsgiApplication
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

logging.disable(logging.CRITICAL)
NAMESPACE = "http://tempuri.org/"
spaces = {}
lock = threading.Lock()


class Space:
    def __init__(self):
        self.rows, self.flags, self.log, self.tokens = {}, {}, [], {}


def space(name):
    with lock:
        return spaces.setdefault(name, Space())


class Report(ComplexModel):
    __namespace__ = NAMESPACE
    key_no = Unicode
    stamp = Unicode
    name = Unicode


class Page(ComplexModel):
    __namespace__ = NAMESPACE
    code = Integer
    message = Unicode
    total = Integer
    reports = Array(Report)


class Item(ComplexModel):
    __namespace__ = NAMESPACE
    item = Unicode


def wanted(name, begin, end="9"):
    rows = [row for row in space(name).rows.values() if row["stamp"] is None or (begin or "") <= row["stamp"] <= end]
    return sorted(rows, key=lambda row: (row["stamp"] or "", row["key_no"]))


def as_xml(rows):
    """What an ASMX service puts into its string."""
    items = "".join(
        f"<Item><key_no>{escape(row['key_no'])}</key_no><stamp>{row['stamp'] or ''}</stamp>"
        f"<name>{escape(row['name'])}</name></Item>"
        for row in rows
    )
    return f'<?xml version="1.0" encoding="gb2312"?><Response><returnCode>1</returnCode><Items>{items}</Items></Response>'


class Service(ServiceBase):
    @rpc(Unicode, Unicode, Integer, Integer, _returns=Page)
    def GetReports(ctx, space_, begin, page, size):
        space(space_).log.append(f"GetReports {begin} {page} {size}")
        rows = wanted(space_, begin)
        shown = rows[(page - 1) * size : page * size]
        return Page(
            code=0, message="ok", total=len(rows), reports=[Report(**{k: r[k] for k in ("key_no", "stamp", "name")}) for r in shown]
        )

    @rpc(Unicode, Unicode, _returns=Array(Item))
    def GetItems(ctx, space_, key):
        if key in space(space_).flags.get("failing", []):
            raise Fault("Server", f"nothing for {key} 张三")
        return [Item(item=item) for item in space(space_).rows[key]["items"]]

    @rpc(Unicode, Unicode, _returns=Unicode)
    def GetString(ctx, space_, strXml):
        """One string in, one string out."""
        here = space(space_)
        asked = etree.fromstring(strXml)
        here.log.append(f"{asked.findtext('begin')} to {asked.findtext('end')} for {asked.findtext('note')}")
        if "answer" in here.flags:
            return here.flags["answer"]
        rows = wanted(space_, asked.findtext("begin"), asked.findtext("end"))
        if not rows:
            return "<Response><returnCode>0</returnCode><returnDesc>未查询到数据</returnDesc></Response>"
        text = as_xml(rows)
        return escape(text) if here.flags.get("twice") else text

    @rpc(Unicode, Unicode, _returns=Unicode)
    def Login(ctx, user, password):
        if password != "open sesame":
            return "-1"
        name = user.removeprefix("user of ")
        here = space(name)
        token = f"{name}.{len(here.tokens) + 1}"
        here.tokens[token] = here.flags.get("uses", 1000)
        return token

    @rpc(Unicode, _returns=Unicode)
    def GetJson(ctx, key):
        """JSON inside SOAP: numbered objects that are texts with JSON themselves."""
        here = space(key.rsplit(".")[0]) if "." in key else None
        if here is None or here.tokens.get(key, 0) <= 0:
            return json.dumps({"code": "-9", "message": "key expired"})
        here.tokens[key] -= 1
        rows = [{"key_no": row["key_no"], "name": row["name"], "id": 1234567890123456789} for row in here.rows.values()]
        return json.dumps({"code": "1", "data": {str(at): json.dumps({"item": [row]}) for at, row in enumerate(rows)}})


def application(protocol):
    services = Application([Service], tns=NAMESPACE, in_protocol=protocol(validator="lxml"), out_protocol=protocol())
    return WsgiApplication(services)


versions = {"/soap11": application(Soap11), "/soap12": application(Soap12)}


def serve(environ, start_response):
    request = Request(environ)
    path = request.path.rstrip("/")
    if path in versions:
        return versions[path](environ, start_response)
    _, what, name = path.split("/")
    here = space(name)
    if what == "put":
        for row in request.get_json():
            here.rows[row["key_no"]] = row
    elif what == "set":
        here.flags.update(request.get_json())
    elif what == "log":
        return Response(json.dumps(here.log))(environ, start_response)
    elif what == "recorded":  # an answer as another service gave it
        body, flags = bytes.fromhex(here.flags["body"]), here.flags
        here.log.append({"action": request.headers.get("SOAPAction"), "type": request.content_type, "body": request.get_data(as_text=True)})
        return Response(body, flags.get("status", 200), content_type=flags.get("type", "text/xml"))(environ, start_response)
    return Response(status=204)(environ, start_response)


class Quiet(WSGIRequestHandler):
    def log_request(self, *args):
        pass


server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
