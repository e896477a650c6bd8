//! Log lines on stderr, and in a file where one is configured.

use std::path::Path;
use std::sync::Mutex;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogFormat;
use crate::clock::Clock;
use crate::config;
use crate::ops::log::{Format, Rotating};

/// The variable that says what is logged.
const VARIABLE: &str = "HISYNC_LOG";

/// Starts logging; `config` is the configuration whose log file is written, where the command has one. A filter that
/// can't be read is an error: a typing mistake must not silence a log. So is a file that can't be opened.
pub(super) fn init(
    format: LogFormat,
    verbose: u8,
    default: &str,
    colour: bool,
    config: Option<&Path>,
) -> Result<(), String> {
    let default = match verbose {
        0 => default,
        1 => "info,hisync=debug,connector=debug",
        _ => "info,hisync=trace,connector=trace",
    };
    let asked = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = || match &asked {
        Some(text) => EnvFilter::try_new(text).map_err(|error| format!("{VARIABLE}={text:?} can't be read: {error}")),
        None => Ok(EnvFilter::new(default)),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let lines = match format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (of_lines, lines_handle) = reload::Layer::new(filter()?);
    let mut layers = vec![lines.with_filter(of_lines.and(filter_fn(is_known_to_be_clean))).boxed()];
    let mut handles = vec![lines_handle];
    if let Some(file) = config.map(file_layer).transpose()?.flatten() {
        let (of_file, file_handle) = reload::Layer::new(filter()?);
        layers.push(file.with_filter(of_file.and(filter_fn(is_known_to_be_clean))).boxed());
        handles.push(file_handle);
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| format!("logging can't be started: {error}"))?;
    let at_start = asked.unwrap_or_else(|| default.to_owned());
    crate::ops::log::set_control(move |level| {
        let text = level.map_or_else(|| at_start.clone(), directives);
        for handle in &handles {
            let changed = EnvFilter::try_new(&text).map(|filter| handle.reload(filter));
            if !matches!(changed, Ok(Ok(()))) {
                tracing::warn!("the level of the log could not be changed");
            }
        }
    });
    Ok(())
}

/// What is logged at a level: below `info` only our own lines say more, as with `-v`.
fn directives(level: &str) -> String {
    match level {
        "debug" | "trace" => format!("info,hisync={level},connector={level}"),
        other => other.to_owned(),
    }
}

/// The layer that writes the log file of a configuration, where that names one.
fn file_layer<S>(config: &Path) -> Result<Option<Box<dyn Layer<S> + Send + Sync>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let settings = config::log_settings(config);
    let Some(name) = &settings.file else { return Ok(None) };
    let path = config.parent().unwrap_or(Path::new("")).join(name);
    let shown = path.display().to_string();
    let file = Rotating::open(&settings, path, Clock::system())
        .map_err(|error| format!("the log file {shown} can't be opened: {error}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(Mutex::new(file)).with_ansi(false);
    Ok(Some(match settings.format {
        Format::Human => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    }))
}

/// P9: that no line holds personal data is promised for hisync's own code. What libraries write for
/// their own makers, bytes of requests for one, is never logged, whatever the filter asks for.
fn is_known_to_be_clean(line: &Metadata<'_>) -> bool {
    let ours = line.target().starts_with("hisync") || line.target().starts_with("connector_");
    ours || *line.level() <= Level::INFO
}
