"""Sends HL7 messages with python-hl7's MLLP client, as a laboratory's interface engine would.

usage: mllp_sender.py HOST PORT FOLDER ACK_LOG

FOLDER holds one message per file, sent in the order of their names; files may be added while it
runs, each renamed into place under a name that sorts last. It ends when a file named END is there
and everything before it is sent. A message is sent again, byte for byte, until it is acknowledged
with AA or CA; then its control id goes to ACK_LOG, on stable storage, before the next one is sent.
Lost and refused connections are what the test is about; AR and CR, which say that the message will
never be taken, end it with a failure.
"""

import os
import sys
import time

import hl7
from hl7.client import MLLPClient

PAUSE = 0.02


def verdict(answer):
    """The answer's code and the control id that it answers."""
    if answer[:1] != b"\x0b" or answer[-2:] != b"\x1c\r":
        raise ConnectionError("the answer is not one whole block")
    msa = hl7.parse(answer[1:-2].decode("latin-1")).segment("MSA")
    return str(msa[1]), str(msa[2])


def control_id_of(message):
    # The header is ASCII up to its tenth field, whatever the rest is written in.
    return message.split(b"\r", 1)[0].split(b"|")[9].decode("ascii")


def next_after(folder, last):
    """The first file after the last one; None while there is none."""
    later = [name for name in os.listdir(folder) if name > last and not name.startswith(".")]
    return min(later, default=None)


class Sender:
    def __init__(self, host, port):
        self.address = host, port
        self.client = None

    def attempt(self, message):
        """One attempt; None where no answer came."""
        try:
            if self.client is None:
                self.client = MLLPClient(*self.address)
                self.client.socket.settimeout(10)
            answer = self.client.send_message(message)
            if not answer:
                raise ConnectionError("the peer closed the connection")
            return verdict(answer)
        except (OSError, hl7.HL7Exception, KeyError, IndexError):
            # An answer that comes later must not be taken for the next message's.
            if self.client is not None:
                self.client.close()
            self.client = None
            return None

    def deliver(self, message):
        control_id = control_id_of(message)
        while True:
            answer = self.attempt(message)
            if answer is not None:
                code, answered = answer
                if code in ("AR", "CR"):
                    sys.exit(f"message {control_id} is rejected: {code}")
                if code in ("AA", "CA") and answered == control_id:
                    return control_id
            time.sleep(PAUSE)


def main():
    host, port, folder, ack_log = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    sender = Sender(host, port)
    last = ""
    with open(ack_log, "a", encoding="ascii") as log:
        while True:
            name = next_after(folder, last)
            if name == "END":
                return
            if name is None:
                time.sleep(PAUSE)
                continue
            last = name
            with open(os.path.join(folder, name), "rb") as file:
                control_id = sender.deliver(file.read())
            log.write(control_id + "\n")
            log.flush()
            os.fsync(log.fileno())


if __name__ == "__main__":
    main()
