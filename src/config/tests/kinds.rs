//! Two small connectors, so that the tests of the configuration do not change with real ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use connector_api::{
    Batch, CancellationToken, Connector, ConnectorKind, Document, DocumentDecoder, Endpoint, FaultClass, Flow, Intake,
    Listener, Map, Mode, Poller, Probe, Record, Request, Secret, SettingsProblem, SourceError, SourceSpec, StreamId,
    StreamPoller, Value, async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::registry::{Kind, entry};

pub(crate) static KINDS: &[Kind] = &[entry::<Lines>(), entry::<Port>()];

/// Reads the lines of a text file.
pub(crate) struct Lines;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinesSettings {
    /// The text file.
    path: PathBuf,
    /// Its character set.
    #[serde(default)]
    #[expect(dead_code, reason = "read by nobody: the tests are about the file")]
    charset: Charset,
    /// How many lines make a record.
    #[schemars(range(min = 1, max = 64))]
    #[expect(dead_code, reason = "read by nobody: the tests are about the file")]
    lines: Option<u32>,
    /// Who logs in.
    #[expect(dead_code, reason = "read by nobody: the tests are about the file")]
    login: Option<Login>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Charset {
    /// What everybody should use.
    #[default]
    Utf8,
    /// What many old systems use.
    Gb18030,
}

#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "read by nobody: the tests are about the file")]
enum Login {
    /// Nobody in particular.
    Guest,
    /// A user.
    Password {
        /// Who.
        user: String,
        /// The password.
        password: Secret,
    },
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinesStream {
    /// The columns of the key.
    #[schemars(length(min = 1))]
    key: Vec<String>,
}

impl ConnectorKind for Lines {
    const NAME: &'static str = "lines";
    const SUMMARY: &'static str = "the lines of a text file";
    const SAMPLE: &'static str = "";
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = LinesSettings;
    type Stream = LinesStream;

    fn build(source: SourceSpec<LinesSettings, LinesStream>) -> Result<Connector, Vec<SettingsProblem>> {
        let mut problems = Vec::new();
        if source.settings.path.extension().is_none_or(|extension| extension != "txt") {
            problems.push(SettingsProblem::new("settings.path", "not a .txt file").hint("name a .txt file"));
        }
        for (index, stream) in source.streams.iter().enumerate() {
            if let Some(at) = stream.settings.key.iter().position(String::is_empty) {
                problems.push(SettingsProblem::new(format!("streams[{index}].key[{at}]"), "a column without a name"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let path = source.base_dir.join(&source.settings.path);
        let poller = |stream: StreamId| StreamPoller { stream, poller: Box::new(LinesPoller(path.clone())) };
        let pollers = source.streams.into_iter().map(|stream| poller(stream.id)).collect();
        Ok(Connector { decoder: DocumentDecoder::shared(), flow: Flow::Poll(pollers) })
    }
}

struct LinesPoller(PathBuf);

impl LinesPoller {
    fn read(&self) -> Result<String, SourceError> {
        std::fs::read_to_string(&self.0)
            .map_err(|cause| SourceError::stop(FaultClass::Missing, "read the text file").because(cause))
    }
}

#[async_trait]
impl Poller for LinesPoller {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        let lines = self.read()?.lines().count();
        Ok(Probe { findings: vec![format!("{lines} lines")], ..Probe::default() })
    }

    async fn fetch(&mut self, _: Request<'_>, _: usize) -> Result<Batch, SourceError> {
        let text = self.read()?;
        let record =
            |line: &str| Record::from_document(Document::new(Map::from_iter([("line", Value::from(line))])), "lines");
        Ok(Batch { records: text.lines().map(record).collect(), ..Batch::default() })
    }
}

/// Listens at a port and hears nothing.
pub(crate) struct Port;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortSettings {
    /// Where to listen.
    listen: SocketAddr,
    /// Names of the peers by address.
    #[serde(default)]
    #[expect(dead_code, reason = "read by nobody: the tests are about the file")]
    peers: BTreeMap<String, String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortStream {}

impl ConnectorKind for Port {
    const NAME: &'static str = "port";
    const SUMMARY: &'static str = "a port";
    const SAMPLE: &'static str = "";
    const MODES: &'static [Mode] = &[Mode::Push];
    type Settings = PortSettings;
    type Stream = PortStream;

    fn build(source: SourceSpec<PortSettings, PortStream>) -> Result<Connector, Vec<SettingsProblem>> {
        let listener = Box::new(PortListener(source.settings.listen));
        Ok(Connector { decoder: DocumentDecoder::shared(), flow: Flow::Listen(listener) })
    }
}

struct PortListener(SocketAddr);

#[async_trait]
impl Listener for PortListener {
    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let bound = tokio::net::TcpListener::bind(self.0).await.and_then(|socket| socket.local_addr());
        let bound = bound.map_err(|cause| SourceError::stop(FaultClass::Bind, "listen").because(cause))?;
        Ok(Endpoint(bound.to_string()))
    }

    async fn serve(self: Box<Self>, _: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        stop.cancelled().await;
        Ok(())
    }
}
