//! Which stream a message belongs to.

use connector_api::{StreamId, StreamSpec};
use connector_formats::hl7::Header;

use crate::settings::Stream;

/// A message type, or several: `ORU^R01`, `ORU^*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    code: Option<String>,
    event: Option<String>,
}

impl Pattern {
    /// Reads a pattern; `None` where it is not one.
    pub(crate) fn parse(text: &str) -> Option<Pattern> {
        let part = |text: &str| match text {
            "*" => Some(None),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric()) => Some(Some(text.to_owned())),
            _ => None,
        };
        match text.split_once('^') {
            Some((code, event)) => Some(Pattern { code: part(code)?, event: part(event)? }),
            None if text == "*" => Some(Pattern { code: None, event: None }),
            None => None,
        }
    }

    fn matches(&self, header: &Header) -> bool {
        let same = |wanted: &Option<String>, component| {
            wanted.as_deref().is_none_or(|wanted| wanted == header.component(9, component))
        };
        same(&self.code, 1) && same(&self.event, 2)
    }

    fn meets(&self, other: &Pattern) -> bool {
        let meet = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
        meet(&self.code, &other.code) && meet(&self.event, &other.event)
    }
}

/// True where some message could belong to both streams.
pub(crate) fn overlap(a: &Stream, b: &Stream) -> bool {
    let common = |a: &[String], b: &[String]| a.is_empty() || b.is_empty() || a.iter().any(|name| b.contains(name));
    let patterns = |stream: &Stream| -> Vec<Pattern> {
        stream.messages.iter().filter_map(|text| Pattern::parse(text)).collect()
    };
    let others = patterns(b);
    patterns(a).iter().any(|pattern| others.iter().any(|other| pattern.meets(other)))
        && common(&a.sending_application, &b.sending_application)
        && common(&a.sending_facility, &b.sending_facility)
}

/// The streams of one source with what they want.
#[derive(Clone, Debug)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    stream: StreamId,
    patterns: Vec<Pattern>,
    applications: Vec<String>,
    facilities: Vec<String>,
}

impl Routes {
    pub(crate) fn new(streams: &[StreamSpec<Stream>]) -> Routes {
        let route = |stream: &StreamSpec<Stream>| Route {
            stream: stream.id.clone(),
            patterns: stream.settings.messages.iter().filter_map(|text| Pattern::parse(text)).collect(),
            applications: stream.settings.sending_application.clone(),
            facilities: stream.settings.sending_facility.clone(),
        };
        Routes(streams.iter().map(route).collect())
    }

    /// The stream of a message; the checks of the settings leave at most one.
    pub(crate) fn stream(&self, header: &Header) -> Option<&StreamId> {
        let named = |names: &[String], field| {
            names.is_empty() || names.iter().any(|name| name == header.component(field, 1))
        };
        let wants = |route: &&Route| {
            route.patterns.iter().any(|pattern| pattern.matches(header))
                && named(&route.applications, 3)
                && named(&route.facilities, 4)
        };
        self.0.iter().find(wants).map(|route| &route.stream)
    }
}
