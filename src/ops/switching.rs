//! Switches over the admin API: the same acts as `hisync switch`.

use std::sync::Arc;

use axum::extract::{Path, State as Extract};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::access::Caller;
use super::health::{Level, Reason};
use super::http::{Answer, Failure, Shared};
use super::report::State;
use crate::store::{self, Store};
use crate::switches::{
    ALL, HOLD_DELIVERIES, MUTE_ALERTS, Misfit, PAUSE_INTAKE, PAUSE_RETENTION, Setting, Switch, Switches,
};

/// A switch, as it is declared and as it is set.
#[derive(Clone, Debug, Serialize)]
pub struct SwitchView {
    /// What it is.
    #[serde(flatten)]
    pub switch: Switch,
    /// Where and how it is set now; for most switches nowhere.
    pub set: Vec<Setting>,
}

/// All switches, as they are set now.
pub fn views(settings: &[Setting], now: DateTime<Utc>) -> Vec<SwitchView> {
    let of = |switch: &Switch| {
        let set = settings.iter().filter(|set| set.name == switch.name && set.until > now);
        SwitchView { switch: *switch, set: set.cloned().collect() }
    };
    ALL.iter().map(of).collect()
}

/// What somebody wants of a switch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flip {
    /// Its new value; `None` takes back what is set.
    pub value: Option<String>,
    /// The source or stream that it is about; none: all of them, or the whole agent.
    pub subject: Option<String>,
    /// Until when, UTC. Needed to set it.
    pub until: Option<DateTime<Utc>>,
    /// The person's name, for the audit log.
    pub who: String,
    /// Why.
    pub because: String,
}

/// Why a switch was not set.
#[derive(Debug, thiserror::Error)]
pub enum FlipError {
    /// It can't be set like this.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// There is no such source or stream.
    #[error("there is no source or stream {0:?} in the configuration")]
    Subject(String),
    /// The store failed, or the switch is not set.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Sets or takes back a switch in the store. `known` says whether a source or stream is configured.
///
/// # Errors
///
/// See [`FlipError`].
pub async fn flip(
    store: &Store,
    name: &str,
    asked: Flip,
    known: impl Fn(&str) -> bool,
    now: DateTime<Utc>,
) -> Result<(), FlipError> {
    let subject = asked.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty());
    let Some(value) = &asked.value else {
        let switch = crate::switches::of(name).ok_or_else(|| Misfit::Unknown(name.to_owned()))?;
        if asked.who.trim().is_empty() {
            return Err(Misfit::Unsigned.into());
        }
        let (subject, who) = (subject.unwrap_or_default(), asked.who.trim());
        return Ok(store.clear_switch(switch.name, subject, who, asked.because.trim()).await?);
    };
    let until = asked.until.unwrap_or(now);
    let set = Setting::new(name, subject, value, until, (&asked.who, &asked.because), now)?;
    if let Some(subject) = subject.filter(|subject| !known(subject)) {
        return Err(FlipError::Subject(subject.to_owned()));
    }
    Ok(store.set_switch(set).await?)
}

/// Takes over into memory what the store says.
///
/// # Errors
///
/// The store can't be read.
pub async fn refresh(store: &Store, switches: &Switches) -> Result<(), store::Error> {
    switches.replace(store.read(|reader| reader.switches()).await?);
    Ok(())
}

/// `GET /api/switches`, `POST /api/switches/{name}`.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/api/switches", get(list)).route("/api/switches/{name}", post(set))
}

async fn list(Extract(state): Shared) -> Json<Vec<SwitchView>> {
    Json(views(&state.switches.all(), state.clock.now()))
}

async fn set(
    Extract(state): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Json(mut asked): Json<Flip>,
) -> Answer<Vec<SwitchView>> {
    asked.who = caller.who(&asked.who).to_owned();
    let streams = state.board.all();
    let known = |subject: &str| {
        streams.iter().any(|stream| stream.id.as_str() == subject || stream.id.source().as_str() == subject)
    };
    flip(&state.store, &name, asked, known, state.clock.now()).await.map_err(|error| match error {
        FlipError::Store(error) => Failure::Store(error),
        FlipError::Misfit(Misfit::Unsigned) => Failure::Incomplete("say who acts and why: the audit log keeps both"),
        other => Failure::Refused(other.to_string()),
    })?;
    refresh(&state.store, &state.switches).await?;
    Ok(Json(views(&state.switches.all(), state.clock.now())))
}

/// What people have stopped: nobody is to wonder in the morning.
pub(super) fn reasons(switches: &Switches) -> Vec<Reason> {
    let of = |set: Setting| {
        let (code, subject) = match set.name.as_str() {
            name if name == PAUSE_INTAKE.name => ("intake-paused", intake_subject(&set.subject)),
            name if name == HOLD_DELIVERIES.name => ("deliveries-held", "upstream".to_owned()),
            name if name == MUTE_ALERTS.name || name == PAUSE_RETENTION.name => ("switched", format!("switch {name}")),
            _ => return None,
        };
        if set.value != "on" {
            return None;
        }
        let until = set.until.format("%Y-%m-%d %H:%M");
        let (who, because) = (&set.who, &set.because);
        let clear = match set.subject.as_str() {
            "" => format!("hisync switch clear {}", set.name),
            subject => format!("hisync switch clear {} {subject}", set.name),
        };
        let reason = Reason::new(code, subject).level(Level::Attention).since(set.set_at);
        Some(
            reason
                .says(
                    format!("{who} switched {} on until {until} UTC: {because}", set.name),
                    format!("{who} 已打开开关 {}，至 {until}（UTC）：{because}", set.name),
                )
                .next(
                    format!("nothing, if that is still wanted: it ends by itself; `{clear}` ends it now"),
                    format!("若仍需要则不必处理，到时自动恢复；立即恢复：{clear}"),
                ),
        )
    };
    switches.all().into_iter().filter_map(of).collect()
}

fn intake_subject(subject: &str) -> String {
    match subject {
        "" => "intake".to_owned(),
        stream if stream.contains('/') => format!("stream {stream}"),
        source => format!("source {source}"),
    }
}
