"""Plays a collector of traces: reads what it gets by OpenTelemetry's own schema, and prints each span as a JSON line.

Prints its port as one JSON line first.
"""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def base64_ids(value):
    """OTLP's JSON writes ids in hexadecimal, protobuf's own in base64; all else is the same."""
    if isinstance(value, list):
        return [base64_ids(item) for item in value]
    if isinstance(value, dict):
        ids = ("traceId", "spanId", "parentSpanId")
        recoded = {key: base64.b64encode(bytes.fromhex(value[key])).decode() for key in ids if key in value}
        return {key: recoded.get(key) or base64_ids(item) for key, item in value.items()}
    return value


class Collector(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        # Unknown members and wrong types are errors here.
        request = json_format.ParseDict(base64_ids(body), ExportTraceServiceRequest())
        for resource in request.resource_spans:
            named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    print(
                        json.dumps(
                            {
                                "path": self.path,
                                "authorization": self.headers.get("authorization"),
                                "service": named["service.name"],
                                "trace": span.trace_id.hex(),
                                "span": span.span_id.hex(),
                                "parent": span.parent_span_id.hex(),
                                "name": span.name,
                                "lasts": span.end_time_unix_nano - span.start_time_unix_nano,
                                "failed": [event.name for event in span.events],
                            }
                        ),
                        flush=True,
                    )
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(json.dumps({"http": server.server_address[1]}), flush=True)
server.serve_forever()
