//! What tiberius is given to talk through: a connection on which encryption is settled already.
//!
//! TDS negotiates encryption in its first message (PRELOGIN) and carries the TLS handshake inside of
//! packets of that kind. Both are done here, because tiberius can neither pin a certificate nor tell
//! why a handshake failed. tiberius then sends a PRELOGIN of its own; it goes no further, and the
//! answer that it gets says that there is nothing to encrypt.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const HEADER: usize = 8;
const PRELOGIN: u8 = 18;

/// A packet that can't be a PRELOGIN any more.
const LONGEST_PRELOGIN: usize = 4096;

/// The `ENCRYPTION` byte of PRELOGIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    LoginOnly = 0,
    All = 1,
    Nothing = 2,
}

/// What the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    LoginOnly,
    All,
    Nothing,
    /// All, or no login.
    Required,
}

fn prelogin(encryption: u8) -> Vec<u8> {
    // VERSION, ENCRYPTION, INSTOPT, THREADID, MARS: token, offset, length.
    let mut body = vec![0, 0, 26, 0, 6, 1, 0, 32, 0, 1, 2, 0, 33, 0, 1, 3, 0, 34, 0, 4, 4, 0, 38, 0, 1, 0xff];
    body.extend_from_slice(&[0, 0, 0, 0, 0, 0, encryption, 0, 0, 0, 0, 0, 0]);
    body
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + HEADER).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![kind, 1, length[0], length[1], 0, 0, 1, 0];
    packet.extend_from_slice(body);
    packet
}

/// Asks what the server wants encrypted.
pub(crate) async fn negotiate(tcp: &mut TcpStream, wish: Wish) -> io::Result<Offer> {
    tcp.write_all(&packet(PRELOGIN, &prelogin(wish as u8))).await?;
    let mut header = [0; HEADER];
    tcp.read_exact(&mut header).await?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not one of SQL Server's");
    if header[0] != 4 || !(HEADER + 1..=LONGEST_PRELOGIN).contains(&length) {
        return Err(broken());
    }
    let mut body = vec![0; length - HEADER];
    tcp.read_exact(&mut body).await?;
    let entry = body.chunks_exact(5).take_while(|entry| entry[0] != 0xff).find(|entry| entry[0] == 1);
    let at = entry.map(|entry| usize::from(u16::from_be_bytes([entry[1], entry[2]]))).ok_or_else(broken)?;
    match body.get(at) {
        Some(0) => Ok(Offer::LoginOnly),
        Some(1) => Ok(Offer::All),
        Some(2) => Ok(Offer::Nothing),
        Some(3) => Ok(Offer::Required),
        _ => Err(broken()),
    }
}

/// A TCP connection whose bytes travel inside PRELOGIN packets while the handshake lasts.
pub(crate) struct Carrier {
    tcp: TcpStream,
    wrapping: bool,
    header: [u8; HEADER],
    have: usize,
    left: usize,
    out: Vec<u8>,
    sent: usize,
}

impl Carrier {
    pub(crate) fn new(tcp: TcpStream) -> Carrier {
        Carrier { tcp, wrapping: true, header: [0; HEADER], have: 0, left: 0, out: Vec::new(), sent: 0 }
    }

    /// What is on its way out; its packet's header first.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.out[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.wrapping {
            return Pin::new(&mut this.tcp).poll_read(cx, buffer);
        }
        while this.left == 0 {
            let mut header = ReadBuf::new(&mut this.header[this.have..]);
            ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut header))?;
            let read = header.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            this.have += read;
            if this.have == HEADER {
                this.have = 0;
                let length = usize::from(u16::from_be_bytes([this.header[2], this.header[3]]));
                this.left = length.saturating_sub(HEADER);
            }
        }
        let most = this.left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.tcp).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        this.left -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.wrapping {
            return Pin::new(&mut this.tcp).poll_write(cx, bytes);
        }
        ready!(this.poll_send(cx))?;
        let taken = bytes.len().min(4000);
        this.out = packet(PRELOGIN, &bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// Finds the ends of TDS messages in what is written.
#[derive(Default)]
struct Framing {
    header: [u8; HEADER],
    have: usize,
    left: usize,
}

impl Framing {
    /// How many of these bytes belong to the current message, where it ends among them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.have < HEADER {
                self.header[self.have] = bytes[at];
                self.have += 1;
                at += 1;
                if self.have < HEADER {
                    continue;
                }
                let length = usize::from(u16::from_be_bytes([self.header[2], self.header[3]]));
                self.left = length.saturating_sub(HEADER);
            } else {
                let taken = self.left.min(bytes.len() - at);
                self.left -= taken;
                at += taken;
            }
            if self.left == 0 && self.have == HEADER {
                self.have = 0;
                if self.header[1] & 1 != 0 {
                    return Some(at);
                }
            }
        }
        None
    }
}

enum Channel {
    Clear(TcpStream),
    Tls(Box<TlsStream<Carrier>>),
    /// While one becomes the other.
    Between,
}

/// Where the conversation stands.
enum Stage {
    /// tiberius writes its PRELOGIN.
    Greeting,
    /// It reads this answer.
    Answering(Vec<u8>, usize),
    /// It writes the login, after which encryption ends.
    Login,
    /// The login is written, but may not all be sent.
    LoggedIn,
    /// Nothing more is to be watched.
    Open,
}

/// The connection that tiberius talks through.
pub(crate) struct TdsStream {
    channel: Channel,
    stage: Stage,
    framing: Framing,
    login_only: bool,
}

impl TdsStream {
    pub(crate) fn clear(tcp: TcpStream) -> TdsStream {
        TdsStream {
            channel: Channel::Clear(tcp),
            stage: Stage::Greeting,
            framing: Framing::default(),
            login_only: false,
        }
    }

    /// `login_only`: encryption ends when the login is sent.
    pub(crate) fn encrypted(mut tls: TlsStream<Carrier>, login_only: bool) -> TdsStream {
        tls.get_mut().0.wrapping = false;
        let channel = Channel::Tls(Box::new(tls));
        TdsStream { channel, stage: Stage::Greeting, framing: Framing::default(), login_only }
    }

    fn poll_flush_channel(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.channel {
            Channel::Clear(tcp) => Pin::new(tcp).poll_flush(cx),
            Channel::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Channel::Between => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Sends the login, then leaves TLS.
    fn poll_leave_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush_channel(cx))?;
        self.channel = match std::mem::replace(&mut self.channel, Channel::Between) {
            Channel::Tls(tls) => Channel::Clear(tls.into_inner().0.tcp),
            other => other,
        };
        self.stage = Stage::Open;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TdsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Stage::Answering(answer, at) = &mut this.stage {
            let part = &answer[*at..];
            let part = &part[..part.len().min(buffer.remaining())];
            buffer.put_slice(part);
            *at += part.len();
            if *at == answer.len() {
                this.stage = if this.login_only { Stage::Login } else { Stage::Open };
            }
            return Poll::Ready(Ok(()));
        }
        if matches!(this.stage, Stage::LoggedIn) {
            ready!(this.poll_leave_tls(cx))?;
        }
        match &mut this.channel {
            Channel::Clear(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Channel::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
            Channel::Between => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for TdsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if matches!(this.stage, Stage::Greeting) {
            let end = this.framing.end(bytes);
            if end.is_some() {
                this.stage = Stage::Answering(packet(4, &prelogin(Wish::Nothing as u8)), 0);
            }
            return Poll::Ready(Ok(end.unwrap_or(bytes.len())));
        }
        if matches!(this.stage, Stage::LoggedIn) {
            ready!(this.poll_leave_tls(cx))?;
        }
        let written = match &mut this.channel {
            Channel::Clear(tcp) => ready!(Pin::new(tcp).poll_write(cx, bytes))?,
            Channel::Tls(tls) => ready!(Pin::new(tls).poll_write(cx, bytes))?,
            Channel::Between => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        if matches!(this.stage, Stage::Login) && this.framing.end(&bytes[..written]).is_some() {
            this.stage = Stage::LoggedIn;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.stage {
            Stage::Greeting | Stage::Answering(..) => Poll::Ready(Ok(())),
            Stage::LoggedIn => this.poll_leave_tls(cx),
            Stage::Login | Stage::Open => this.poll_flush_channel(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().channel {
            Channel::Clear(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Channel::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Channel::Between => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests;
