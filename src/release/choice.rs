//! Which mapping of a stream is in force: the configured one, or the candidate that a person has promoted.

use std::sync::Arc;

use crate::config::Config;
use crate::diagnose::Problem;
use crate::store::Promoted;

/// The configuration with promoted candidates in the places of the mappings that they replace.
#[derive(Debug)]
pub struct InForce {
    /// The configuration.
    pub config: Arc<Config>,
    /// Streams whose promotion is void: the configuration names no candidate for them any more.
    pub void: Vec<String>,
}

/// Puts promoted candidates in force. Fails where one of them has mistakes: to go on with the mapping that it replaced
/// would change what upstream has, without anybody's word.
pub fn in_force(config: Arc<Config>, promoted: &[Promoted]) -> Result<InForce, Vec<Problem>> {
    if promoted.is_empty() {
        return Ok(InForce { config, void: Vec::new() });
    }
    let mut config = Config::clone(&config);
    let (mut void, mut problems) = (Vec::new(), Vec::new());
    for row in promoted {
        let mut streams = config.sources.iter_mut().flat_map(|source| &mut source.streams);
        let stream = streams.find(|stream| stream.id.as_str() == row.stream);
        match stream.map(|stream| (stream.candidate.take(), stream)) {
            Some((Some(candidate), stream)) => match candidate.mapping {
                Ok(mapping) => stream.mapping = mapping,
                Err(more) => problems.extend(more),
            },
            Some((None, _)) | None => void.push(row.stream.clone()),
        }
    }
    if problems.is_empty() { Ok(InForce { config: Arc::new(config), void }) } else { Err(problems) }
}
