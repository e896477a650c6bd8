//! Log lines on stderr.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;

/// The variable that says what is logged.
const VARIABLE: &str = "HISYNC_LOG";

/// Starts logging. A filter that can't be read is an error: a typing mistake must not silence a log.
pub(super) fn init(format: LogFormat, verbose: u8, default: &str, colour: bool) -> Result<(), String> {
    let default = match verbose {
        0 => default,
        1 => "info,hisync=debug,connector=debug",
        _ => "info,hisync=trace,connector=trace",
    };
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| format!("{VARIABLE}={text:?} can't be read: {error}"))?
        }
        _ => EnvFilter::new(default),
    };
    let filter = filter.and(filter_fn(is_known_to_be_clean));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let registry = tracing_subscriber::registry();
    let started = match format {
        LogFormat::Human => registry.with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    started.map_err(|error| format!("logging can't be started: {error}"))
}

/// P9: that no line holds personal data is promised for hisync's own code. What libraries write for
/// their own makers, bytes of requests for one, is never logged, whatever the filter asks for.
fn is_known_to_be_clean(line: &Metadata<'_>) -> bool {
    let ours = line.target().starts_with("hisync") || line.target().starts_with("connector_");
    ours || *line.level() <= Level::INFO
}
