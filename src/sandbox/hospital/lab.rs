//! The laboratory system: ORU^R01 messages in GB18030, sent over MLLP through a real socket.
//!
//! It behaves as a careful one does: it waits for the acknowledgement of each message, and where the
//! answer is AE, or none comes, it sends the same bytes under the same control id again. It does not
//! know whether the first attempt arrived; that is for the receiver to find out.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime};
use encoding_rs::GB18030;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::catalogue::Kind;
use super::people::Sex;
use super::visit::{Order, Visit};

/// An MLLP block's first byte.
const START: u8 = 0x0B;
/// An MLLP block's last two bytes.
const END: [u8; 2] = [0x1C, 0x0D];
/// Longer than any acknowledgement.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What MSH-18 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Nothing, as most laboratory systems do; the bytes are GB18030.
    Nothing,
    /// `GB18030`, and the bytes are.
    Gb18030,
    /// `UNICODE`, by which the system means UTF-8.
    Unicode,
}

/// How far a report is: OBR-25 and OBX-11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// `P`, not verified.
    Preliminary,
    /// `F`, verified.
    Final,
    /// `C`, replaces a verified one.
    Corrected,
}

impl Verified {
    /// HL7 tables 0085 and 0123.
    pub fn code(self) -> &'static str {
        match self {
            Verified::Preliminary => "P",
            Verified::Final => "F",
            Verified::Corrected => "C",
        }
    }
}

/// A message that is ready to be sent, again and again if need be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabMessage {
    /// MSH-10.
    pub control_id: String,
    /// The numbers of the reports in it: OBR-3 of each OBR.
    pub report_nos: Vec<String>,
    /// The message without its MLLP frame.
    pub bytes: Vec<u8>,
}

/// What a message says beside the results.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    /// MSH-10.
    pub control_id: String,
    /// What the numbers of its reports begin with; the group item's code follows.
    pub report_no: String,
    /// When it is sent; the hospital's wall clock.
    pub sent_at: NaiveDateTime,
    /// How far the report is.
    pub verified: Verified,
    /// What MSH-18 says.
    pub declared: Declared,
    /// Replaces the first result's flag.
    pub strange_flag: Option<&'a str>,
}

/// Writes reports of a visit as one ORU^R01 message, each ordered group a report of its own.
pub fn oru<'a>(visit: &Visit, orders: impl Iterator<Item = &'a Order>, letter: &Letter<'_>) -> LabMessage {
    let orders: Vec<&Order> = orders.collect();
    let text = oru_text(visit, &orders, letter);
    let bytes = match letter.declared {
        Declared::Unicode => text.into_bytes(),
        Declared::Nothing | Declared::Gb18030 => GB18030.encode(&text).0.into_owned(),
    };
    LabMessage {
        control_id: letter.control_id.clone(),
        report_nos: orders.iter().map(|order| report_no(letter, order)).collect(),
        bytes,
    }
}

fn report_no(letter: &Letter<'_>, order: &Order) -> String {
    format!("{}-{}", letter.report_no, order.group.code)
}

fn oru_text(visit: &Visit, orders: &[&Order], letter: &Letter<'_>) -> String {
    let person = &visit.person;
    let day = |at: NaiveDate| at.format("%Y%m%d").to_string();
    let time = |at: NaiveDateTime| at.format("%Y%m%d%H%M%S").to_string();
    let status = letter.verified.code();
    let charset = match letter.declared {
        Declared::Nothing => "",
        Declared::Gb18030 => "GB18030",
        Declared::Unicode => "UNICODE",
    };
    let mut segments = vec![
        format!(
            "MSH|^~\\&|LIS|JYK|HISYNC|TJZX|{}||ORU^R01|{}|P|2.4||||||{charset}",
            time(letter.sent_at),
            letter.control_id
        ),
        format!(
            "PID|1||{}||{}||{}|{}|||||{}|||||{}|{}",
            person.archive_no,
            escaped(&person.name),
            day(person.birth),
            if person.sex == Sex::Male { "M" } else { "F" },
            person.phone,
            visit.exam_no,
            person.citizen_id,
        ),
        format!("PV1|1|O|TJZX^^^体检中心||||||||||||||||{}", visit.exam_no),
    ];
    let mut first = true;
    for (place, order) in orders.iter().enumerate() {
        let performed = time(order.performed_at);
        let specimen = order.group.specimen.unwrap_or_default();
        segments.push(format!(
            "OBR|{}|{}|{}|{}^{}^LIS|||{performed}||||||||{specimen}|||||||{}|||{status}",
            place + 1,
            visit.exam_no,
            report_no(letter, order),
            order.group.code,
            escaped(order.group.name),
            time(letter.sent_at),
        ));
        for (line, row) in order.results.iter().enumerate() {
            let flag = if first { letter.strange_flag.unwrap_or(row.mark.hl7()) } else { row.mark.hl7() };
            first = false;
            // `<0.50` is no NM.
            let plain = row.value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let kind = if matches!(row.item.kind, Kind::Number(_)) && plain { "NM" } else { "ST" };
            segments.push(format!(
                "OBX|{}|{kind}|{}^{}^LIS||{}|{}|{}|{flag}|||{status}|||{performed}||{}",
                line + 1,
                escaped(row.item.short),
                escaped(row.item.name),
                escaped(&row.value),
                escaped(row.item.unit),
                escaped(&row.reference),
                order.performer,
            ));
        }
    }
    segments.push(String::new());
    segments.join("\r")
}

/// A text with HL7's delimiters escaped: `10^9/L` becomes `10\S\9/L`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '~' => out.push_str("\\R\\"),
            '&' => out.push_str("\\T\\"),
            '\\' => out.push_str("\\E\\"),
            other => out.push(other),
        }
    }
    out
}

/// Endless variety for measurements: ORU^R01 messages of some twenty results each.
pub fn oru_messages(seed: u64, n: usize) -> impl Iterator<Item = Vec<u8>> {
    let day = super::day::default_date();
    (0..n).map(move |index| {
        let visit = Visit::draw(seed, index, n, day);
        let letter = Letter {
            control_id: format!("B{index:09}"),
            report_no: format!("JYB{index:09}"),
            sent_at: visit.registered_at + chrono::Duration::hours(2),
            verified: Verified::Final,
            declared: if index % 2 == 0 { Declared::Gb18030 } else { Declared::Nothing },
            strange_flag: None,
        };
        oru(&visit, visit.laboratory().take(2), &letter).bytes
    })
}

/// How long the laboratory system waits, and how often it tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long it waits for an acknowledgement or a connection.
    pub answer_within: Duration,
    /// How many times it sends one message before it goes on to the next.
    pub attempts: u32,
    /// How long it waits before it tries again.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { answer_within: Duration::from_secs(10), attempts: 20, pause: Duration::from_millis(250) }
    }
}

/// What came of sending one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// MSH-10 of the message.
    pub control_id: String,
    /// How many times it was sent.
    pub attempts: u32,
    /// The last answer.
    pub answer: Answer,
}

/// The receiver's last answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// AA or CA: the receiver has custody.
    Accepted,
    /// AE, CE, AR or CR.
    Refused(String),
    /// None came.
    Silence,
}

/// Why one attempt brought no acknowledgement.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("talk to the receiver")]
    Socket(#[from] std::io::Error),
    #[error("the receiver did not answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("the receiver's answer acknowledges no such message")]
    Unreadable,
}

/// The laboratory system's sending side: one connection, one message at a time.
#[derive(Debug)]
pub struct LabSender {
    receiver: SocketAddr,
    patience: Patience,
    connection: Option<TcpStream>,
}

impl LabSender {
    /// A sender that connects with its first message.
    pub fn new(receiver: SocketAddr, patience: Patience) -> LabSender {
        LabSender { receiver, patience, connection: None }
    }

    /// Sends one message until it is accepted, refused for good, or patience ends.
    pub async fn send(&mut self, message: &LabMessage) -> Sent {
        let mut answer = Answer::Silence;
        for attempt in 1..=self.patience.attempts {
            if attempt > 1 {
                tokio::time::sleep(self.patience.pause).await;
            }
            answer = match self.attempt(message).await {
                Ok(code) if code == "AA" || code == "CA" => Answer::Accepted,
                Ok(code) => Answer::Refused(code),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, attempt, "the lab sends again");
                    self.connection = None;
                    Answer::Silence
                }
            };
            // AR says that the message itself is at fault: another attempt brings nothing.
            let for_good = matches!(&answer, Answer::Refused(code) if code == "AR" || code == "CR");
            if answer == Answer::Accepted || for_good {
                return Sent { control_id: message.control_id.clone(), attempts: attempt, answer };
            }
        }
        Sent { control_id: message.control_id.clone(), attempts: self.patience.attempts, answer }
    }

    /// Sends messages one after the other.
    pub async fn send_all(&mut self, messages: &[LabMessage]) -> Vec<Sent> {
        let mut all = Vec::with_capacity(messages.len());
        for message in messages {
            all.push(self.send(message).await);
        }
        all
    }

    async fn attempt(&mut self, message: &LabMessage) -> Result<String, AttemptError> {
        let within = self.patience.answer_within;
        let connection = match &mut self.connection {
            Some(open) => open,
            none => none.insert(tokio::time::timeout(within, TcpStream::connect(self.receiver)).await??),
        };
        let mut block = Vec::with_capacity(message.bytes.len() + 3);
        block.push(START);
        block.extend_from_slice(&message.bytes);
        block.extend_from_slice(&END);
        connection.write_all(&block).await?;
        let answer = tokio::time::timeout(within, read_block(connection)).await??;
        acknowledgement(&answer, &message.control_id).ok_or(AttemptError::Unreadable)
    }
}

async fn read_block(connection: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(256);
    while !block.ends_with(&END) {
        if connection.read_buf(&mut block).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if block.len() > LONGEST_ANSWER {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    block.truncate(block.len() - END.len());
    Ok(block.strip_prefix(&[START]).map(<[u8]>::to_vec).unwrap_or(block))
}

/// MSA-1, where MSA-2 names the message.
fn acknowledgement(answer: &[u8], control_id: &str) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let msa = text.split(['\r', '\n']).find_map(|segment| segment.strip_prefix("MSA|"))?;
    let mut fields = msa.split('|');
    let code = fields.next()?.trim();
    (fields.next()?.trim() == control_id).then(|| code.to_owned())
}
