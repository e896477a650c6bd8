//! Packets: how messages are cut into them, and how an answer can go wrong on its way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};

use crate::server::Shared;
use crate::{FaultKind, Handshake};

pub(crate) const SQL_BATCH: u8 = 1;
pub(crate) const RPC: u8 = 3;
pub(crate) const ANSWER: u8 = 4;
pub(crate) const ATTENTION: u8 = 6;
pub(crate) const TRANSACTION: u8 = 14;
pub(crate) const LOGIN7: u8 = 16;
pub(crate) const PRELOGIN: u8 = 18;

const HEADER: usize = 8;

/// One connection, in the clear or inside TLS.
pub(crate) struct Link {
    pub(crate) tcp: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

impl Link {
    pub(crate) fn new(tcp: TcpStream) -> Link {
        Link { tcp, tls: None }
    }

    /// The handshake, whose records travel inside PRELOGIN packets.
    pub(crate) fn start_tls(&mut self, how: &Handshake, config: Arc<ServerConfig>) -> io::Result<()> {
        match how {
            Handshake::Modern => {}
            Handshake::OldAlert => {
                self.message()?;
                // A fatal alert of a server that knows TLS 1.0 only: protocol_version.
                self.packet(PRELOGIN, true, &[0x15, 3, 1, 0, 2, 2, 70])?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Handshake::Closes => {
                self.message()?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Handshake::Silent => {
                let mut rest = Vec::new();
                self.tcp.read_to_end(&mut rest)?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut carrier = Carrier { tcp: &self.tcp, left: 0, out: Vec::new() };
        while tls.is_handshaking() {
            let result = tls.complete_io(&mut carrier);
            carrier.flush()?;
            result?;
        }
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Everything after the login travels in the clear again.
    pub(crate) fn end_tls(&mut self) {
        self.tls = None;
    }

    /// A whole message; `None` where the peer has gone.
    pub(crate) fn message(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let mut body = Vec::new();
        loop {
            let mut header = [0; HEADER];
            match self.read_exact(&mut header) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && body.is_empty() => return Ok(None),
                Err(error) => return Err(error),
            }
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let start = body.len();
            body.resize(start + length.saturating_sub(HEADER), 0);
            self.read_exact(&mut body[start..])?;
            if header[1] & 1 != 0 {
                return Ok(Some((header[0], body)));
            }
        }
    }

    pub(crate) fn packet(&mut self, kind: u8, last: bool, body: &[u8]) -> io::Result<()> {
        let packet = framed(kind, last, 1, body);
        self.write_all(&packet)?;
        self.flush()
    }
}

fn framed(kind: u8, last: bool, number: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + HEADER).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![kind, u8::from(last), length[0], length[1], 0, 51, number, 0];
    packet.extend_from_slice(body);
    packet
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.read(buffer),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.tcp).read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.write(bytes),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.tcp).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.flush(),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.tcp).flush(),
        }
    }
}

/// Takes TLS records out of PRELOGIN packets and puts them in.
struct Carrier<'a> {
    tcp: &'a TcpStream,
    left: usize,
    out: Vec<u8>,
}

impl Read for Carrier<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        if self.left == 0 {
            let mut header = [0; HEADER];
            self.tcp.read_exact(&mut header)?;
            self.left = usize::from(u16::from_be_bytes([header[2], header[3]])).saturating_sub(HEADER);
        }
        let most = buffer.len().min(self.left);
        let read = self.tcp.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Carrier<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        // A certificate may be longer than a packet.
        let mut parts = out.chunks(4000).peekable();
        while let Some(part) = parts.next() {
            self.tcp.write_all(&framed(PRELOGIN, parts.peek().is_none(), 1, part))?;
        }
        Ok(())
    }
}

/// An answer under way: tokens go in, packets go out, and a scripted fault strikes at its byte.
pub(crate) struct Answer<'a> {
    link: &'a mut Link,
    shared: &'a Shared,
    room: usize,
    body: Vec<u8>,
    number: u8,
    sent: usize,
    fault: Option<FaultKind>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(link: &'a mut Link, shared: &'a Shared, packet_size: usize, fault: Option<FaultKind>) -> Self {
        Answer { link, shared, room: packet_size - HEADER, body: Vec::new(), number: 0, sent: 0, fault }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.body.extend_from_slice(bytes);
        while self.body.len() > self.room {
            let rest = self.body.split_off(self.room);
            let full = std::mem::replace(&mut self.body, rest);
            self.send(false, &full)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        let body = std::mem::take(&mut self.body);
        self.send(true, &body)?;
        self.link.flush()
    }

    fn send(&mut self, last: bool, body: &[u8]) -> io::Result<()> {
        self.number = self.number.wrapping_add(1);
        let packet = framed(ANSWER, last, self.number, body);
        let mut rest = packet.as_slice();
        if let Some(FaultKind::Pieces { bytes, pause }) = self.fault.clone() {
            for piece in rest.chunks(bytes.max(1)) {
                self.link.write_all(piece)?;
                self.link.flush()?;
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
            return Ok(());
        }
        let strikes = self.fault.as_ref().and_then(FaultKind::after).filter(|at| self.sent + rest.len() > *at);
        if let Some(at) = strikes {
            let (before, after) = rest.split_at(at.saturating_sub(self.sent));
            self.link.write_all(before)?;
            self.link.flush()?;
            self.strike()?;
            self.sent += before.len();
            rest = after;
        }
        self.link.write_all(rest)?;
        self.sent += rest.len();
        Ok(())
    }

    fn strike(&mut self) -> io::Result<()> {
        match self.fault.take() {
            Some(FaultKind::ResetAfter(_)) => {
                socket2::SockRef::from(&self.link.tcp).set_linger(Some(Duration::ZERO))?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Some(FaultKind::CloseAfter(_)) => {
                self.link.tcp.shutdown(Shutdown::Both)?;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            // What comes in meanwhile (an Attention) is read only after the answer: acknowledged late.
            Some(FaultKind::StallAfter(_)) => self.shared.wait_for_release(&self.link.tcp),
            _ => Ok(()),
        }
    }
}
