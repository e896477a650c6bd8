//! `hisync alerts`: trouble from its beginning to its end, and who is told of it.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::access::{Access, Error, Which, whoami};
use super::table::{field, list, table, time};
use super::{Exit, Terminal};
use crate::clock::Clock;
use crate::config;
use crate::ops::alert::{Alerts, Desk};
use crate::ops::alerting::{Quiet, Sound, Trial};
use crate::store::Reader;

/// Lists alerts, tries channels, and keeps alerts quiet for a while.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync alerts list                     what lasts, what ended lately, who is told, what is silenced
  hisync alerts test oncall              sends a trial message to the channel `oncall` now
  hisync alerts silence --code stream-silent --subject 'stream peis/reports' --for 12h --because 'the lab moves'

Exit codes: 0 done; 1 it could not be done; 2 there is no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists trouble that lasts or ended lately, the channels, and what is silenced.
    #[command(after_help = "Examples:
  hisync alerts list
  hisync alerts list --all --json")]
    List(ListArgs),
    /// Sends a trial message to a channel, and says what its server answers.
    #[command(after_help = "Examples:
  hisync alerts test oncall")]
    Test(TestArgs),
    /// Keeps alerts of a kind, about a thing, or both, quiet for a while. The status goes on showing them.
    #[command(after_help = "Examples:
  hisync alerts silence --code stream-unusual --for 12h --because 'company outing'
  hisync alerts silence --subject 'source lab' --for 2h --because 'upgrade of the LIS'")]
    Silence(SilenceArgs),
    /// Ends a silence before its time.
    #[command(after_help = "Examples:
  hisync alerts unsilence 3")]
    Unsilence(UnsilenceArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Those of the last two weeks that ended, too.
    #[arg(long)]
    all: bool,
    /// Prints one JSON object: `open`, `ended`, `channels`, `silences`.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TestArgs {
    #[command(flatten)]
    which: Which,
    /// The channel's id.
    channel: String,
}

#[derive(Debug, clap::Args)]
#[group(id = "of", required = true, multiple = true, args = ["code", "subject"])]
struct SilenceArgs {
    #[command(flatten)]
    which: Which,
    /// Only of this kind; `hisync status --json` names the codes.
    #[arg(long)]
    code: Option<String>,
    /// Only about this, as `hisync status` writes it: 'stream peis/reports'.
    #[arg(long)]
    subject: Option<String>,
    /// For how long, at most 30d: a whole number and s, m, h or d.
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration)]
    lasts: std::time::Duration,
    /// Why, for the audit log.
    #[arg(long)]
    because: String,
    /// Who says so, for the audit log.
    #[arg(long)]
    who: Option<String>,
}

#[derive(Debug, clap::Args)]
struct UnsilenceArgs {
    #[command(flatten)]
    which: Which,
    /// The silence's id, as `hisync alerts list` shows it.
    id: i64,
    /// Who says so, for the audit log.
    #[arg(long)]
    who: Option<String>,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show(args, terminal).await,
        Verb::Test(args) => test(args, terminal).await,
        Verb::Silence(args) => silence(args, terminal).await,
        Verb::Unsilence(args) => unsilence(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn show(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let now = Clock::system().now();
    let access = args.which.open().await?;
    let found = access.read("/api/alerts", &(), |reader: &Reader| Alerts::read(reader, &[], now)).await?;
    if args.json {
        terminal.json(&found);
    } else {
        terminal.data(&text(&found, args.all));
    }
    Ok(Exit::Fine)
}

fn text(found: &Json, all: bool) -> String {
    let mut text = String::new();
    let open = list(found, "open");
    if open.is_empty() {
        text.push_str("no trouble lasts\n");
    }
    let ended = if all { list(found, "ended") } else { &[] };
    for episode in open.iter().chain(ended) {
        let ended = match episode["closed_at"].is_string() {
            true => format!(", ended {}", time(episode, "closed_at")),
            false => String::new(),
        };
        let (code, subject) = (field(episode, "code"), field(episode, "subject"));
        let _ = writeln!(text, "{code}  {subject}  since {}{ended}", time(episode, "opened_at"));
        let _ = writeln!(text, "  {}", field(&episode["reason"], "text"));
        if !episode["closed_at"].is_string() {
            let _ = writeln!(text, "  -> {}", field(&episode["reason"], "next"));
        }
    }
    let channels = list(found, "channels");
    if !channels.is_empty() {
        let rows = channels.iter().map(|channel| {
            ["id", "kind", "from", "waiting", "attempts", "failure"].map(|name| field(channel, name)).to_vec()
        });
        let head = ["channel", "type", "from level", "waiting#", "failed attempts#", "last failure"];
        let _ = write!(text, "\n{}", table(&head, &rows.collect::<Vec<_>>()));
    }
    let silences = list(found, "silences");
    if !silences.is_empty() {
        let rows = silences.iter().map(|silence| {
            let [id, code, subject] = ["id", "code", "subject"].map(|name| field(silence, name));
            vec![id, code, subject, time(silence, "until"), field(silence, "who"), field(silence, "because")]
        });
        let head = ["silence#", "code", "subject", "until", "who", "because"];
        let _ = write!(text, "\n{}", table(&head, &rows.collect::<Vec<_>>()));
    }
    text
}

async fn test(args: TestArgs, terminal: &Terminal) -> Result<Exit, Error> {
    match args.which.open().await {
        Ok(Access::Agent(client)) => {
            client.post("/api/alerts/test", &Trial { channel: args.channel.clone() }).await?;
        }
        // Without an agent the configuration is enough; a store need not be there yet.
        Ok(Access::Store(_)) => {
            let path = args.which.config()?;
            let config = config::load(&path).map_err(|_| Error::BadConfig(path))?;
            let (store, _) = args.which.open_for_acts()?;
            let place = (config.agent.hospital.as_str(), config.agent.timezone);
            let desk = Desk::new(&config.alerts, &config.base_dir, place, store.clone(), Clock::system());
            let sent = match desk {
                Ok(desk) => desk.test(&args.channel).await,
                Err(error) => Err(error),
            };
            store.close().await;
            if let Err(error) = sent {
                terminal.note(&format!("error: {}", connector_api::chain(&error)));
                return Ok(Exit::NotFine);
            }
        }
        Err(error) => return Err(error),
    }
    terminal.data(&format!("the channel {} took a trial message", args.channel));
    Ok(Exit::Fine)
}

async fn silence(args: SilenceArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let SilenceArgs { which, code, subject, lasts, because, who } = args;
    let asked = Quiet { code, subject, secs: lasts.as_secs(), who: who.unwrap_or_else(whoami), because };
    if let Some(problem) = asked.problem() {
        terminal.note(&format!("error: {problem}"));
        return Ok(Exit::Usage);
    }
    let answer = match which.open().await? {
        Access::Agent(client) => client.post("/api/alerts/silence", &asked).await?,
        Access::Store(reader) => {
            drop(reader);
            let (store, _) = which.open_for_acts()?;
            let until = Clock::system().now() + lasts;
            let Quiet { code, subject, who, because, .. } = asked;
            let id = store.silence_alerts(code, subject, until, &who, &because).await;
            store.close().await;
            json!({ "id": id?, "until": until })
        }
    };
    terminal.data(&format!("silence {} until {}", field(&answer, "id"), time(&answer, "until")));
    Ok(Exit::Fine)
}

async fn unsilence(args: UnsilenceArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let who = args.who.unwrap_or_else(whoami);
    match args.which.open().await? {
        Access::Agent(client) => {
            client.post(&format!("/api/alerts/silence/{}/end", args.id), &Sound { who }).await?;
        }
        Access::Store(reader) => {
            drop(reader);
            let (store, _) = args.which.open_for_acts()?;
            let ended = store.end_alert_silence(args.id, &who).await;
            store.close().await;
            ended?;
        }
    }
    terminal.data(&format!("silence {} ended", args.id));
    Ok(Exit::Fine)
}
