//! What a frame means: the records to store, and the answers once they are stored.
//!
//! Nothing here touches a socket, so the dangerous order (store, then acknowledge) is in one
//! place: `listener` stores [`Plan::records`] and only then calls [`Session::reply`].

use bytes::Bytes;
use chrono::{DateTime, Utc};
use connector_api::{DecodeFailure, Raw, Record, Refusal, SourceSpec, StreamId};
use connector_formats::hl7::{Header, Hl7Decoder, Message};

use crate::ack::{self, Code, Names};
use crate::framing::{Event, OUTSIDE_LIMIT};
use crate::master::MasterFile;
use crate::routes::Routes;
use crate::settings::{Acknowledge, Settings, Stream};

/// The format name of bytes that are no message, or only a part of one. They must never be decoded
/// as a message: the beginning of a message is another message.
const BYTES: &str = "application/octet-stream";

/// The rules of one source.
pub(crate) struct Session {
    decoder: Hl7Decoder,
    routes: Routes,
    acknowledge: Acknowledge,
    names: Names,
    max_message_bytes: usize,
}

/// What to do about one event.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// What to store, each for its stream.
    pub(crate) records: Vec<(Option<StreamId>, Record)>,
    /// True where the connection is of no use afterwards.
    pub(crate) close: bool,
    answers: Vec<Answer>,
    /// The batch header to answer; `None` for messages without one.
    batch: Option<Header>,
}

/// An acknowledgement owed for one message.
#[derive(Debug)]
struct Answer {
    header: Header,
    /// The index of the message's record.
    record: usize,
    /// Why the message is refused although it could be stored.
    rejected: Option<String>,
    /// What of a master file the answer repeats.
    master: Option<MasterFile>,
}

/// What became of a record: stored, or refused.
pub(crate) type Outcome = Result<(), Refusal>;

impl Session {
    pub(crate) fn new(decoder: Hl7Decoder, source: &SourceSpec<Settings, Stream>) -> Session {
        let settings = &source.settings;
        Session {
            decoder,
            routes: Routes::new(&source.streams),
            acknowledge: settings.acknowledge,
            names: Names { application: settings.application.clone(), facility: settings.facility.clone() },
            max_message_bytes: settings.max_message_bytes,
        }
    }

    /// Reads an event. The same event always gives the same plan.
    pub(crate) fn plan(&self, event: &Event) -> Plan {
        match event {
            Event::Frame(content) => self.frame(content),
            Event::Outside(bytes) => {
                let detail = format!("{} bytes outside of any complete frame", bytes.len());
                let mut plan = Plan { close: bytes.len() >= OUTSIDE_LIMIT, ..Plan::default() };
                plan.hold(part(bytes), "mllp/garbage", DecodeFailure::new("mllp-garbage", detail));
                plan
            }
            Event::TooLong(beginning) => self.too_long(beginning),
        }
    }

    fn frame(&self, content: &Bytes) -> Plan {
        let mut plan = Plan::default();
        if content.trim_ascii().is_empty() {
            return plan;
        }
        let found = self.decoder.take_apart(content);
        for message in found.messages {
            self.message(message, &mut plan);
        }
        for leftover in found.leftovers {
            let place = match leftover.failure.code {
                "hl7-no-header" => "mllp/no-header",
                "hl7-batch-count" => "mllp/batch",
                _ => "mllp/stray",
            };
            plan.hold(leftover.raw(), place, leftover.failure);
            if let ("mllp/batch", Some(header), Some((_, record))) = (place, &found.batch, plan.records.last_mut()) {
                record.resend_key = header.resend_key();
            }
        }
        plan.batch = found.batch;
        plan.close |= found.is_foreign;
        plan
    }

    fn message(&self, message: Message, plan: &mut Plan) {
        let Message { header, raw, document } = message;
        let master = header.as_ref().and_then(|header| MasterFile::read(header, &raw));
        let record = Record {
            raw,
            document,
            source_ref: header.as_ref().map_or_else(|| "mllp/no-header".to_owned(), Header::type_name),
            resend_key: header.as_ref().and_then(Header::resend_key),
        };
        let stream = header.as_ref().and_then(|header| self.routes.stream(header)).cloned();
        plan.records.push((stream, record));
        let record = plan.records.len() - 1;
        match header {
            // Answering an acknowledgement would be answered in turn, for ever.
            Some(header) if matches!(header.component(9, 1), "ACK" | "MFK") => {}
            Some(header) => plan.answers.push(Answer { header, record, rejected: None, master }),
            None => plan.close = true,
        }
    }

    fn too_long(&self, beginning: &Bytes) -> Plan {
        let mut plan = Plan { close: true, ..Plan::default() };
        let limit = self.max_message_bytes;
        let failure = DecodeFailure::new("hl7-too-long", format!("longer than {limit} bytes; only those are kept"));
        let header = Header::read(beginning, self.decoder.default_charset()).ok();
        plan.hold(part(beginning), "mllp/too-long", failure);
        if let (Some(header), Some((stream, record))) = (header, plan.records.last_mut()) {
            *stream = self.routes.stream(&header).cloned();
            record.source_ref = header.type_name();
            record.resend_key = header.resend_key();
            let rejected = Some(format!("the message is longer than {limit} bytes"));
            plan.answers.push(Answer { header, record: 0, rejected, master: None });
        }
        plan
    }

    /// Appends the framed answers to `out`. `outcomes` are those of the plan's records, in order.
    ///
    /// Answers true where the connection must be closed: the agent is stopping, or a message was
    /// refused whose sender wants no answer and would otherwise believe that it was taken.
    pub(crate) fn reply(&self, plan: &Plan, outcomes: &[Outcome], time: DateTime<Utc>, out: &mut Vec<u8>) -> bool {
        let mut close = plan.close || outcomes.iter().any(|outcome| matches!(outcome, Err(Refusal::Stopping)));
        let mut written = Vec::new();
        let mut count = 0;
        let together = plan.batch.is_some() || plan.answers.len() > 1;
        if let Some(batch) = &plan.batch {
            ack::write_batch_start(&mut written, batch, &self.names, time);
        }
        // What came along with the messages counts as part of each: the sender must keep them all
        // until all of it is stored.
        let answered = |at: usize| plan.answers.iter().any(|answer| answer.record == at);
        let beside = outcomes.iter().enumerate().find(|(at, outcome)| outcome.is_err() && !answered(*at));
        for answer in &plan.answers {
            let outcome = beside.map(|(_, outcome)| outcome).or_else(|| outcomes.get(answer.record));
            let codes = self.codes(answer, outcome);
            close |= codes.is_empty() && !matches!(outcome, Some(Ok(())));
            for code in codes {
                ack::write(&mut written, &answer.header, &code, answer.master.as_ref(), &self.names, time);
                count += 1;
                if !together {
                    frame(&written, out);
                    written.clear();
                }
            }
        }
        if let Some(batch) = &plan.batch {
            ack::write_batch_end(&mut written, batch, count);
        }
        if together && (count > 0 || plan.answers.is_empty()) {
            frame(&written, out);
        }
        // Nothing was answerable and something was not stored: only the close tells the sender.
        close || (plan.answers.is_empty() && outcomes.iter().any(Result::is_err))
    }

    /// The acknowledgements that one message gets.
    fn codes(&self, answer: &Answer, outcome: Option<&Outcome>) -> Vec<Code> {
        let refusal = match outcome {
            Some(Ok(())) => None,
            Some(Err(refusal)) => Some(refusal.to_string()),
            None => Some("not stored".to_owned()),
        };
        let (index, problem) = match (refusal, &answer.rejected) {
            (Some(refusal), _) => (1, Some(refusal)),
            (None, Some(rejected)) => (2, Some(rejected.clone())),
            (None, None) => (0, None),
        };
        let good = index == 0;
        let code = |codes: [&'static str; 3]| Code { code: codes[index], problem: problem.clone() };
        let (accept, application) = match self.wishes(&answer.header) {
            None => (false, true),
            Some((accept, application)) => (wanted(accept, good), wanted(application, good)),
        };
        let mut codes = Vec::with_capacity(2);
        if accept {
            codes.push(code(["CA", "CE", "CR"]));
        }
        // After a negative accept acknowledgement there is nothing that an application could say.
        if application && (good || !accept) {
            codes.push(code(["AA", "AE", "AR"]));
        }
        codes
    }

    /// The conditions for the accept and the application acknowledgement; `None` in original mode.
    fn wishes<'a>(&self, header: &'a Header) -> Option<(&'a str, &'a str)> {
        let (accept, application) = (header.field(15), header.field(16));
        match self.acknowledge {
            Acknowledge::Original => None,
            Acknowledge::Auto if accept.is_empty() && application.is_empty() => None,
            Acknowledge::Enhanced if accept.is_empty() => Some(("AL", application)),
            Acknowledge::Auto | Acknowledge::Enhanced => Some((accept, application)),
        }
    }
}

impl Plan {
    /// Adds a record that a person has to look at.
    fn hold(&mut self, raw: Raw, place: &str, failure: DecodeFailure) {
        let record = Record { raw, document: Err(failure), source_ref: place.to_owned(), resend_key: None };
        self.records.push((None, record));
    }
}

/// Whether a condition of HL7 table 0155 asks for an acknowledgement. An unknown word does.
fn wanted(condition: &str, good: bool) -> bool {
    match condition {
        "" | "NE" => false,
        "SU" => good,
        "ER" => !good,
        _ => true,
    }
}

/// Bytes that are no message, as they are archived.
fn part(bytes: &Bytes) -> Raw {
    Raw { format: BYTES.to_owned(), charset: None, body: bytes.clone() }
}

fn frame(content: &[u8], out: &mut Vec<u8>) {
    out.push(0x0b);
    out.extend_from_slice(content);
    out.extend_from_slice(b"\x1c\r");
}
