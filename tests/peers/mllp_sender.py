"""Sends HL7 messages with python-hl7's MLLP client, as a laboratory's interface engine would.

usage: mllp_sender.py HOST PORT FOLDER ACK_LOG

FOLDER holds one message per file, sent in the order of their names. A message is sent again, byte
for byte, until it is acknowledged with AA or CA; then its control id goes to ACK_LOG, on stable
storage, before the next one is sent. Lost and refused connections are what the test is about.
"""

import os
import sys
import time

import hl7
from hl7.client import MLLPClient


def acknowledged(answer, control_id):
    message = hl7.parse(answer.strip(b"\x0b\x1c\r").decode("latin-1"))
    segment = message.segment("MSA")
    return str(segment[1]) in ("AA", "CA") and str(segment[2]) == control_id


def control_id_of(message):
    # The header is ASCII up to its tenth field, whatever the rest is written in.
    return message.split(b"\r", 1)[0].split(b"|")[9].decode("ascii")


def main():
    host, port, folder, ack_log = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    client = None
    with open(ack_log, "a", encoding="ascii") as log:
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                message = file.read()
            control_id = control_id_of(message)
            while True:
                try:
                    if client is None:
                        client = MLLPClient(host, port)
                        client.socket.settimeout(10)
                    answer = client.send_message(message)
                    if not answer:
                        raise ConnectionError("the peer closed the connection")
                    if acknowledged(answer, control_id):
                        break
                except (OSError, ConnectionError, hl7.HL7Exception):
                    if client is not None:
                        client.socket.close()
                    client = None
                time.sleep(0.02)
            log.write(control_id + "\n")
            log.flush()
            os.fsync(log.fileno())


if __name__ == "__main__":
    main()
