//! The settings of an `mllp` source and of its streams, and their checks.

use std::net::SocketAddr;
use std::time::Duration;

use connector_api::{Mode, SettingsProblem, SourceSpec, StreamSpec};
use connector_formats::text::TextPolicy;
use connector_listen::{Peers, Port, Tls};

use crate::routes::{Pattern, overlap};

/// The `settings` table of an `mllp` source.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address and port to listen on, e.g. `0.0.0.0:2575`.
    pub listen: String,
    /// The character set of messages whose MSH-18 is empty, and which counts where it is not:
    /// `{ default = "gb18030", prefer = "declared" }`.
    #[serde(default)]
    pub charset: TextPolicy,
    /// The longest frame that is received, in bytes. A longer one is answered with a rejection,
    /// and what was received of it is held for a person.
    #[serde(default = "eight_mebibytes")]
    pub max_message_bytes: usize,
    /// How many connections may be open at once. Further ones are closed as soon as they come.
    #[serde(default = "sixty_four")]
    pub max_connections: usize,
    /// A connection that sends nothing for so many seconds is closed; 0 keeps it for ever.
    #[serde(default = "one_day")]
    pub idle_timeout_secs: u64,
    /// A frame that is begun must be complete within so many seconds, and an acknowledgement must
    /// be taken by the peer within the same time.
    #[serde(default = "one_minute")]
    pub read_timeout_secs: u64,
    /// Which acknowledgements are sent.
    #[serde(default)]
    pub acknowledge: Acknowledge,
    /// Networks whose addresses may connect, e.g. `10.2.0.0/16` or `10.2.3.4`; every address
    /// where left out.
    #[serde(default)]
    pub allowed_peers: Vec<String>,
    /// The certificate that the port shows; connections are not encrypted where left out.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// What acknowledgements name as their sending application (MSH-3); as a rule, what the
    /// sender wrote into its message's MSH-5.
    #[serde(default)]
    pub application: Option<String>,
    /// What acknowledgements name as their sending facility (MSH-4); as a rule, what the sender
    /// wrote into its message's MSH-6.
    #[serde(default)]
    pub facility: Option<String>,
}

fn eight_mebibytes() -> usize {
    8 << 20
}

fn sixty_four() -> usize {
    64
}

fn one_day() -> u64 {
    86_400
}

fn one_minute() -> u64 {
    60
}

/// Which acknowledgements are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// Enhanced mode where a message fills MSH-15 or MSH-16, else original mode.
    #[default]
    Auto,
    /// One `AA`, `AE` or `AR` for each message, whatever MSH-15 and MSH-16 say.
    Original,
    /// Enhanced mode; an empty MSH-15 asks for an accept acknowledgement always.
    Enhanced,
}

/// What the table of an `mllp` source's stream holds beside the common keys.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The message types that belong to the stream, by MSH-9: `ORU^R01`, or `ORU^*` for every
    /// event, or `*` for every message.
    pub messages: Vec<String>,
    /// Only messages from these sending applications (first component of MSH-3); from any where
    /// left out.
    #[serde(default)]
    pub sending_application: Vec<String>,
    /// Only messages from these sending facilities (first component of MSH-4); from any where
    /// left out.
    #[serde(default)]
    pub sending_facility: Vec<String>,
}

/// The bounds that the listener keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) message_bytes: usize,
    /// `None` keeps an idle connection for ever.
    pub(crate) idle: Option<Duration>,
    pub(crate) read: Duration,
}

impl Settings {
    /// Reports everything that is wrong at once.
    pub(crate) fn check(&self, source: &SourceSpec<Settings, Stream>) -> Result<(Limits, Port), Vec<SettingsProblem>> {
        let mut problems = Vec::new();
        let address = self.listen.parse::<SocketAddr>();
        if address.is_err() {
            problems.push(
                SettingsProblem::new("settings.listen", "is not an IP address with a port")
                    .hint("write `0.0.0.0:2575` to listen on every interface"),
            );
        }
        if !self.charset.default.extends_ascii() {
            problems.push(
                SettingsProblem::new("settings.charset.default", "UTF-16 can't be framed by MLLP")
                    .hint("write `utf-8` or `gb18030`"),
            );
        }
        let positive = [
            ("settings.max_message_bytes", self.max_message_bytes == 0),
            ("settings.max_connections", self.max_connections == 0),
            ("settings.read_timeout_secs", self.read_timeout_secs == 0),
        ];
        for (path, zero) in positive {
            if zero {
                problems.push(SettingsProblem::new(path, "must be at least 1"));
            }
        }
        for (path, name) in [("settings.application", &self.application), ("settings.facility", &self.facility)] {
            if name.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(|b| matches!(b, b' '..=b'~'))) {
                problems.push(SettingsProblem::new(path, "must be printable ASCII and not empty"));
            }
        }
        let peers = Peers::check(&self.allowed_peers, &mut problems);
        self.tls.iter().for_each(|tls| tls.check(&mut problems));
        check_streams(&source.streams, &mut problems);
        match address {
            Ok(address) if problems.is_empty() => {
                let limits = Limits {
                    message_bytes: self.max_message_bytes,
                    idle: (self.idle_timeout_secs > 0).then(|| Duration::from_secs(self.idle_timeout_secs)),
                    read: Duration::from_secs(self.read_timeout_secs),
                };
                let (tls, base_dir) = (self.tls.clone(), source.base_dir.clone());
                let port = Port { address, tls, base_dir, protocol: None, peers, connections: self.max_connections };
                Ok((limits, port))
            }
            _ => Err(problems),
        }
    }
}

fn check_streams(streams: &[StreamSpec<Stream>], problems: &mut Vec<SettingsProblem>) {
    for (at, stream) in streams.iter().enumerate() {
        if stream.mode != Mode::Push {
            problems.push(
                SettingsProblem::new(format!("streams[{at}].mode"), "a listener's streams are pushed")
                    .hint("write `mode = \"push\"`"),
            );
        }
        let path = format!("streams[{at}].messages");
        if stream.settings.messages.is_empty() {
            problems.push(SettingsProblem::new(&path, "no message type is named").hint("write `[\"ORU^R01\"]`"));
        }
        for text in stream.settings.messages.iter().filter(|text| Pattern::parse(text).is_none()) {
            problems.push(
                SettingsProblem::new(&path, format!("{text:?} is not a message type"))
                    .hint("write code and event, like `ORU^R01`, or `ORU^*`, or `*`"),
            );
        }
        for earlier in &streams[..at] {
            if overlap(&earlier.settings, &stream.settings) {
                problems.push(
                    SettingsProblem::new(&path, format!("a message may belong to this stream and to {}", earlier.id))
                        .hint("name other message types, or set sending_application or sending_facility in both"),
                );
            }
        }
    }
}
