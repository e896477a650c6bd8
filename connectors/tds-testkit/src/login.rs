//! PRELOGIN and LOGIN7: what the client wants, and whether it may have it.

use crate::types::{b_varchar, us_varchar};
use crate::{Encryption, Options};

/// The `ENCRYPTION` byte of PRELOGIN.
const OFF: u8 = 0;
const ON: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const REQUIRED: u8 = 3;

/// What the two sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    Clear,
    LoginOnly,
    All,
    /// The client has no TLS and must not come in without.
    Refused,
}

/// The answer to a PRELOGIN, and what it means.
pub(crate) fn prelogin(body: &[u8], encryption: Encryption) -> (Vec<u8>, Agreed) {
    let wanted = option(body, 1).and_then(|value| value.first().copied()).unwrap_or(NOT_SUPPORTED);
    let (answer, agreed) = match (encryption, wanted) {
        (Encryption::NotSupported, _) => (NOT_SUPPORTED, Agreed::Clear),
        (Encryption::Off, NOT_SUPPORTED) => (NOT_SUPPORTED, Agreed::Clear),
        (Encryption::Off, OFF) => (OFF, Agreed::LoginOnly),
        (Encryption::Off, _) => (ON, Agreed::All),
        (Encryption::Required, NOT_SUPPORTED) => (REQUIRED, Agreed::Refused),
        (Encryption::Required, _) => (REQUIRED, Agreed::All),
    };
    let mut message = Vec::new();
    let options: [(u8, &[u8]); 5] = [(0, &[11, 0, 0x1b, 0x59, 0, 0]), (1, &[answer]), (2, &[0]), (3, &[]), (4, &[0])];
    let mut offset = options.len() * 5 + 1;
    for (token, value) in options {
        message.push(token);
        message.extend_from_slice(&(offset as u16).to_be_bytes());
        message.extend_from_slice(&(value.len() as u16).to_be_bytes());
        offset += value.len();
    }
    message.push(0xff);
    options.iter().for_each(|(_, value)| message.extend_from_slice(value));
    (message, agreed)
}

fn option(body: &[u8], wanted: u8) -> Option<&[u8]> {
    for entry in body.chunks(5) {
        let [token, a, b, c, d] = *entry else { return None };
        if token == 0xff {
            return None;
        }
        if token == wanted {
            let start = usize::from(u16::from_be_bytes([a, b]));
            return body.get(start..start + usize::from(u16::from_be_bytes([c, d])));
        }
    }
    None
}

/// What a LOGIN7 says.
pub(crate) struct Login {
    pub(crate) version: u32,
    pub(crate) packet_size: usize,
    user: String,
    password: String,
    database: String,
}

impl Login {
    pub(crate) fn read(body: &[u8]) -> Option<Login> {
        let number = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
        let field = |at: usize| {
            let short = |at: usize| Some(usize::from(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?)));
            let (start, characters) = (short(at)?, short(at + 2)?);
            body.get(start..start + characters * 2)
        };
        let text = |bytes: &[u8]| {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
            String::from_utf16_lossy(&units)
        };
        // Each byte's halves are exchanged and its bits turned: no secret, only not readable.
        let plain: Vec<u8> = field(44)?.iter().map(|byte| (byte ^ 0xa5).rotate_left(4)).collect();
        Some(Login {
            version: number(4)?,
            packet_size: usize::try_from(number(8)?).ok()?.clamp(512, 32767),
            user: text(field(40)?),
            password: text(&plain),
            database: text(field(68)?),
        })
    }

    /// The error's number and text where the login is refused.
    pub(crate) fn refused(&self, options: &Options) -> Option<(i32, String)> {
        if self.version < 0x7200_0000 {
            return Some((17_809, "Only TDS 7.2 and later are spoken here.".to_owned()));
        }
        if self.user != options.user || self.password != options.password {
            return Some((18_456, format!("Login failed for user '{}'.", self.user)));
        }
        if !self.database.is_empty() && !self.database.eq_ignore_ascii_case(&options.database) {
            let text = format!("Cannot open database \"{}\" requested by the login. The login failed.", self.database);
            return Some((4060, text));
        }
        None
    }
}

/// The tokens of a login that went well, without the final DONE.
pub(crate) fn welcome(login: &Login, options: &Options, collation: [u8; 5]) -> Vec<u8> {
    let mut tokens = Vec::new();
    let mut change = |kind: u8, new: Vec<u8>, old: Vec<u8>| {
        tokens.push(0xe3);
        tokens.extend_from_slice(&((1 + new.len() + old.len()) as u16).to_le_bytes());
        tokens.push(kind);
        tokens.extend(new);
        tokens.extend(old);
    };
    change(1, b_varchar(&options.database), b_varchar("master"));
    let mut bytes = vec![5];
    bytes.extend_from_slice(&collation);
    change(7, bytes, vec![0]);
    change(2, b_varchar("us_english"), b_varchar(""));
    change(4, b_varchar(&login.packet_size.to_string()), b_varchar("4096"));
    tokens.extend(message(0xab, 5701, 0, &format!("Changed database context to '{}'.", options.database)));
    let name = b_varchar("Microsoft SQL Server");
    tokens.push(0xad);
    tokens.extend_from_slice(&((1 + 4 + name.len() + 4) as u16).to_le_bytes());
    tokens.push(1);
    tokens.extend_from_slice(&login.version.min(0x7400_0004).to_be_bytes());
    tokens.extend(name);
    tokens.extend_from_slice(&[11, 0, 0x1b, 0x59]);
    tokens
}

/// An ERROR (0xaa) or INFO (0xab) token.
pub(crate) fn message(token: u8, number: i32, class: u8, text: &str) -> Vec<u8> {
    let mut body = number.to_le_bytes().to_vec();
    body.extend_from_slice(&[1, class]);
    body.extend(us_varchar(text));
    body.extend(b_varchar("HIS"));
    body.extend(b_varchar(""));
    body.extend_from_slice(&1u32.to_le_bytes());
    let mut message = vec![token];
    message.extend_from_slice(&(body.len() as u16).to_le_bytes());
    message.extend(body);
    message
}
