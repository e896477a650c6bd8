//! Held items over the admin API: the list, one item with all that a person needs to decide, and the acts.

use std::sync::Arc;

use axum::extract::{Path, Query, State as Extract};
use axum::routing::{get, post};
use axum::{Json, Router};
use connector_api::{Decoder, Document, Raw, StreamId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::access::Caller;
use super::http::{Answer, Failure, Shared};
use super::report::State;
use super::{acts, mask};
use crate::intake::Understood;
use crate::store::{ArchivedView, HeldDetail, HeldFilter};

/// Fields of a record that are shown as they were read; a report has some hundreds.
const FIELDS: usize = 2000;

pub(super) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/api/held", get(held_list))
        .route("/api/held/{id}", get(held_show))
        .route("/api/held/retry", post(retry))
        .route("/api/held/release", post(release))
        .route("/api/held/dismiss", post(dismiss))
        .route("/api/held/{id}/retry", post(retry_one))
        .route("/api/held/{id}/release", post(release_one))
        .route("/api/held/{id}/dismiss", post(dismiss_one))
}

/// Which held items, as query or JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Only this one.
    pub id: Option<i64>,
    /// Only of this stream.
    pub stream: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Closed ones too; for an act, whatever is open, where nothing else narrows it.
    pub all: bool,
    /// At most so many.
    pub limit: Option<usize>,
    /// Behind this one.
    pub after: Option<i64>,
}

impl Selection {
    /// The store's filter.
    pub fn filter(&self) -> HeldFilter {
        HeldFilter { id: self.id, stream: self.stream.clone(), reason: self.reason.clone(), open_only: !self.all }
    }
}

/// Who acts, on what, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Act {
    /// The person's name, for the audit log.
    pub who: String,
    /// Why (dismiss).
    pub because: String,
    /// On what; for an act on one item its path says so.
    pub on: Selection,
}

async fn held_list(Extract(state): Shared, caller: Caller, Query(asked): Query<Selection>) -> Answer<Value> {
    let (filter, limit, after) = (asked.filter(), asked.limit.unwrap_or(100), asked.after.unwrap_or(0));
    let items = state.store.read(move |reader| reader.held_list(&filter, limit, after)).await?;
    Ok(Json(shy(&caller, serde_json::to_value(items).unwrap_or_default())))
}

/// What an operator who gave no reason may see: keys hold exam numbers, upstream's words may repeat what it was sent.
/// Who needs no account (this machine's commands, and whoever may connect where nobody is configured) sees them.
pub(super) fn shy(caller: &Caller, json: Value) -> Value {
    if caller.name.is_some() { mask::without_keys(json) } else { json }
}

/// How a held item or an outbox entry is to be shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Look {
    /// Show personal data, for this reason.
    pub personal: Option<String>,
    /// The person's name, for the audit log.
    pub who: Option<String>,
}

impl Look {
    /// Who wants to see personal data and why; `None` where nobody does.
    pub(super) fn audited<'a>(&'a self, caller: &'a Caller) -> Result<Option<(&'a str, &'a str)>, Failure> {
        let Some(reason) = self.personal.as_deref() else { return Ok(None) };
        let who = caller.who(self.who.as_deref().unwrap_or_default());
        if reason.trim().is_empty() || who.trim().is_empty() {
            return Err(Failure::Incomplete("personal data needs a name (who) and a reason (personal)"));
        }
        Ok(Some((who, reason)))
    }
}

/// A held item with its raw record as text.
#[derive(Debug, Serialize)]
pub struct HeldView {
    /// The item, its findings and history.
    #[serde(flatten)]
    pub detail: Value,
    /// The raw record, decoded; masked unless a reason was given.
    pub raw_text: Option<String>,
    /// What the mapping in force makes of it, masked likewise; empty where no configured stream reads it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub understood: Vec<Understood>,
}

async fn held_show(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Query(look): Query<Look>,
) -> Result<Json<HeldView>, Failure> {
    let detail = state.store.read(move |reader| reader.held_show(id)).await?;
    if let Some((who, reason)) = look.audited(&caller)? {
        state.store.audit(who, "show-personal", &format!("held/{id}"), reason).await?;
    }
    let personal = look.personal.is_some();
    let understood = detail.record.as_ref().map(|record| understood(&state, record, personal)).unwrap_or_default();
    let decoder = |stream: &StreamId| state.again.of(stream).map(|(_, decoder)| decoder.clone());
    let mut view = view(decoder, detail, personal);
    if !personal {
        view.detail = shy(&caller, view.detail);
    }
    Ok(Json(HeldView { understood, ..view }))
}

/// What the mapping in force makes of a record that is held, with what it read field by field.
fn understood(state: &State, record: &ArchivedView, personal: bool) -> Vec<Understood> {
    let stream = StreamId::parse(&record.stream).filter(|_| record.given_up_at.is_none());
    let Some((normaliser, decoder)) = stream.as_ref().and_then(|stream| state.again.of(stream)) else {
        return Vec::new();
    };
    let document = decoder.decode(&raw(record));
    let mut understood = normaliser.explain(&document, &record.source_ref, record.charset.as_deref());
    for outcome in &mut understood {
        outcome.read.truncate(FIELDS);
        if !personal {
            outcome.data = outcome.data.take().map(|data| mask::masked_json(&data));
            for made in &mut outcome.read {
                made.raw = mask::mask_at(&made.path, &made.raw);
            }
        }
    }
    understood
}

fn raw(record: &ArchivedView) -> Raw {
    Raw { format: record.format.clone(), charset: record.charset.clone(), body: record.body.clone() }
}

/// A held item as it is shown: decoded by its stream's decoder, masked unless `personal`.
///
/// Where the decoder is not known, a record that was archived as hisync's own document is read all the same.
pub fn view(
    decoder: impl FnOnce(&StreamId) -> Option<Arc<dyn Decoder>>,
    detail: HeldDetail,
    personal: bool,
) -> HeldView {
    let raw_text = detail.record.as_ref().map(|record| {
        if let Some(at) = record.given_up_at {
            return format!("its bytes were given up on {}: the archive does not reach back so far", at.date_naive());
        }
        let decoder = StreamId::parse(&record.stream).and_then(|stream| decoder(&stream));
        let decoded = match &decoder {
            Some(decoder) => decoder.decode(&raw(record)),
            None => Document::from_bytes(&record.body),
        };
        match decoded {
            Ok(document) => {
                let root = if personal { document.root } else { mask::masked_map(&document.root) };
                let json = serde_json::Value::from(&connector_api::Value::Map(root));
                serde_json::to_string_pretty(&json).unwrap_or_default()
            }
            Err(_) if decoder.is_none() => {
                let (bytes, format, stream) = (record.body.len(), &record.format, &record.stream);
                format!("{bytes} bytes of {format}: only a configuration with the stream {stream} can read them")
            }
            Err(failure) if personal => {
                format!("{failure}\n\n{}", String::from_utf8_lossy(&record.body))
            }
            Err(failure) => format!("{failure}\n{} bytes", record.body.len()),
        }
    });
    let mut json = serde_json::to_value(&detail).unwrap_or_default();
    if !personal {
        for part in ["findings", "event"] {
            if let Some(value) = json.get_mut(part) {
                *value = mask::masked_json(value);
            }
        }
    }
    HeldView { detail: json, raw_text, understood: Vec::new() }
}

impl Act {
    /// Under the name of who asks, whatever the request says.
    fn by(mut self, caller: &Caller) -> Act {
        self.who = caller.who(&self.who).to_owned();
        self
    }

    /// An act on the items that `on` selects, which has to say something: an empty body never means "all".
    fn group(self) -> Result<Act, Failure> {
        let on = &self.on;
        if on.id.is_none() && on.stream.is_none() && on.reason.is_none() && !on.all {
            return Err(Failure::Incomplete("say on what: on.id, on.stream, on.reason or on.all"));
        }
        self.signed()
    }

    /// An act on the item that the path names.
    fn one(mut self, id: i64) -> Result<Act, Failure> {
        self.on = Selection { id: Some(id), ..Selection::default() };
        self.signed()
    }

    fn signed(self) -> Result<Act, Failure> {
        match self.who.trim().is_empty() {
            true => Err(Failure::Incomplete("say who acts: the audit log keeps it")),
            false => Ok(self),
        }
    }

    fn reasoned(self) -> Result<Act, Failure> {
        match self.because.trim().is_empty() {
            true => Err(Failure::Incomplete("say why (because): the audit log keeps it")),
            false => Ok(self),
        }
    }
}

async fn do_retry(state: &State, act: Act) -> Answer<acts::Done> {
    Ok(Json(acts::retry(&state.store, &state.again, act.on.filter(), &act.who).await?))
}

async fn do_release(state: &State, act: Act) -> Answer<acts::Done> {
    Ok(Json(acts::release(&state.store, act.on.filter(), &act.who).await?))
}

async fn do_dismiss(state: &State, act: Act) -> Answer<acts::Done> {
    let act = act.reasoned()?;
    Ok(Json(acts::dismiss(&state.store, act.on.filter(), &act.who, &act.because).await?))
}

async fn retry(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_retry(&state, act.by(&caller).group()?).await
}

async fn release(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_release(&state, act.by(&caller).group()?).await
}

async fn dismiss(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_dismiss(&state, act.by(&caller).group()?).await
}

async fn retry_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_retry(&state, act.by(&caller).one(id)?).await
}

async fn release_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_release(&state, act.by(&caller).one(id)?).await
}

async fn dismiss_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_dismiss(&state, act.by(&caller).one(id)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_need_a_name_and_say_on_what() {
        let on = Selection { reason: Some("unknown-code".into()), ..Selection::default() };
        let act = |who: &str, on: &Selection| Act { who: who.into(), because: String::new(), on: on.clone() };
        assert!(act("wang", &on).group().is_ok());
        assert!(act("wang", &Selection::default()).group().is_err());
        assert!(act(" ", &on).group().is_err());
        assert!(act("", &on).one(7).is_err());
        assert_eq!(act("wang", &on).one(7).ok().map(|act| (act.on.id, act.on.reason)), Some((Some(7), None)));
        assert!(act("wang", &on).reasoned().is_err());
    }

    #[test]
    fn personal_data_is_shown_for_a_name_and_a_reason_alone() {
        let trusted = Caller { name: None, roles: Vec::new(), proof: None };
        let look = |personal: Option<&str>, who: Option<&str>| Look {
            personal: personal.map(str::to_owned),
            who: who.map(str::to_owned),
        };
        assert_eq!(look(None, Some("wang")).audited(&trusted).ok(), Some(None));
        assert_eq!(look(Some("compare"), Some("wang")).audited(&trusted).ok(), Some(Some(("wang", "compare"))));
        assert!(look(Some("compare"), None).audited(&trusted).is_err());
        assert!(look(Some(" "), Some("wang")).audited(&trusted).is_err());
    }
}
