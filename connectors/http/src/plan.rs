//! A source and its streams, checked and compiled.

use std::path::Path;
use std::time::Duration;

use chrono_tz::Tz;
use connector_api::{Mode, SettingsProblem, StreamSpec};
use connector_formats::charset::Charset;
use connector_formats::xml::XmlRules;
use reqwest::header::HeaderName;
use url::Url;

use crate::call::{Call, Signer};
use crate::session::{Access, LoginCall, Session, Shared};
use crate::settings::{
    Answer, Changes, Connection, Detail, Download, Login, Paging, PagingBy, Sign, Stream, Taken, Templates,
};
use crate::template::{Place, Template};
use crate::transport::Transport;
use crate::window::Rule;

/// Variables that every call's templates may name.
const EVERYWHERE: [&str; 5] = ["token", "timestamp", "timestamp_ms", "nonce", "sign"];

/// The settings of a source that all protocols have.
pub struct SourceParts<C> {
    /// Where the server is.
    pub url: String,
    /// How it knows who asks.
    pub login: Option<Login<C>>,
    /// What answers say about themselves, where a call says nothing else.
    pub answer: Option<Answer>,
    /// How calls are signed.
    pub sign: Option<Sign>,
    /// The character set of answers, where what they declare is wrong.
    pub charset: Option<Charset>,
    /// How XML becomes values.
    pub xml: XmlRules,
    /// The time zone of the hospital's clocks.
    pub timezone: String,
    /// How the server is connected to.
    pub connection: Connection,
}

/// Collects what is wrong with a source's settings.
#[derive(Debug, Default)]
pub struct Check {
    /// What was found.
    pub problems: Vec<SettingsProblem>,
}

/// A stream, ready to be read.
#[derive(Debug)]
pub struct StreamPlan {
    pub(crate) list: Call,
    pub(crate) records: String,
    pub(crate) total: Option<String>,
    pub(crate) changes: Option<Rule>,
    pub(crate) paging: Option<Paging>,
    pub(crate) open: Vec<String>,
    pub(crate) details: Vec<(Detail<()>, Call)>,
    pub(crate) downloads: Vec<Download>,
    pub(crate) taken: Option<(Taken<()>, Call)>,
}

impl Check {
    /// Notes a problem.
    pub fn wrong(&mut self, path: impl Into<String>, message: impl Into<String>, hint: &str) {
        self.problems.push(SettingsProblem::new(path, message).hint(hint));
    }

    /// Compiles a template that may name the variables `known`.
    pub fn template(&mut self, path: &str, source: &str, place: Place, known: &[&str]) -> Option<Template> {
        let template = match Template::new(source, place) {
            Ok(template) => template,
            Err(error) => {
                self.wrong(path, error.to_string(), "values are written as {{ name }}");
                return None;
            }
        };
        let mut unknown: Vec<&String> = template
            .names()
            .iter()
            .filter(|name| !known.contains(&name.as_str()) && !EVERYWHERE.contains(&name.as_str()))
            .collect();
        unknown.sort_unstable();
        if let Some(name) = unknown.first() {
            let names: Vec<&str> = known.iter().chain(&EVERYWHERE).copied().collect();
            self.wrong(path, format!("there is no {name:?} here"), &format!("known here: {}", names.join(", ")));
            return None;
        }
        Some(template)
    }

    /// Compiles the templates of a table, in the order of its names.
    pub fn templates(
        &mut self,
        path: &str,
        table: &Templates,
        place: Place,
        known: &[&str],
    ) -> Vec<(String, Template)> {
        let compiled = table.iter().filter_map(|(name, source)| {
            Some((name.clone(), self.template(&format!("{path}.{name}"), source, place, known)?))
        });
        compiled.collect()
    }

    /// Compiles headers.
    pub fn headers(&mut self, path: &str, table: &Templates, known: &[&str]) -> Vec<(HeaderName, Template)> {
        let mut headers = Vec::new();
        for (name, template) in self.templates(path, table, Place::Plain, known) {
            match HeaderName::try_from(&name) {
                Ok(name) => headers.push((name, template)),
                Err(_) => self.wrong(format!("{path}.{name}"), "is not the name of a header", "write e.g. X-App-Id"),
            }
        }
        headers
    }

    fn header(&mut self, path: &str, name: Option<&String>) -> Option<HeaderName> {
        let name = name?;
        let header = HeaderName::try_from(name).ok();
        if header.is_none() {
            self.wrong(path, "is not the name of a header", "write e.g. Authorization or X-Token");
        }
        header
    }

    /// Checks a source's settings and makes the session of its streams; opens nothing. `compile` makes
    /// a call of the protocol's own settings, given where they stand and the variables known there.
    pub fn session<C>(
        &mut self,
        identity: &str,
        base_dir: &Path,
        parts: SourceParts<C>,
        mut compile: impl FnMut(&mut Check, &str, &C, &[&str]) -> Option<Call>,
    ) -> Option<Session> {
        let base = match Url::parse(&parts.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host_str().is_some() => Some(url),
            _ => {
                self.wrong("settings.url", "is not a URL", "write for example http://10.1.2.3:8080/service.asmx");
                None
            }
        };
        if let Some(url) = &base
            && (!url.username().is_empty() || url.password().is_some())
        {
            self.wrong("settings.url", "holds a user or password", "leave them out, and use login");
        }
        let zone: Option<Tz> = parts.timezone.parse().ok();
        if zone.is_none() {
            self.wrong("settings.timezone", "is not a time zone", "write for example Asia/Shanghai");
        }
        parts.connection.check("settings.connection", &mut self.problems);
        if let Some(answer) = &parts.answer {
            self.answer("settings.answer", answer);
        }
        let signer = parts.sign.as_ref().and_then(|sign| {
            let known = ["params", "body", "secret", "method", "from", "to", "page", "offset", "size", "cursor"];
            self.template("settings.sign.text", &sign.text, Place::Plain, &known)?;
            Some((Signer::new(sign).ok()?, sign.secret.clone()))
        });
        let access = self.access(parts.login, base.as_ref(), &mut compile);
        let (base, zone, access) = (base?, zone?, access?);
        // What tells two sources apart: a source that was configured anew has connections of its own.
        let identity = format!("{identity}\n{}\n{base}\n{:?}", base_dir.display(), parts.connection);
        let (connection, folder) = (parts.connection, base_dir.to_owned());
        let shared = Shared::of(identity, || Transport::new(connection, base, folder));
        let (charset, rules, base_dir) = (parts.charset, parts.xml, base_dir.to_owned());
        Some(Session { shared, access, signer, charset, rules, zone, base_dir })
    }

    fn access<C>(
        &mut self,
        login: Option<Login<C>>,
        base: Option<&Url>,
        compile: &mut impl FnMut(&mut Check, &str, &C, &[&str]) -> Option<Call>,
    ) -> Option<Access> {
        let at = "settings.login";
        Some(match login {
            None => Access::Open,
            Some(Login::Basic { user, secret }) => {
                if user.is_empty() || user.contains(':') {
                    self.wrong(format!("{at}.user"), "is empty or has a colon", "write the user's name");
                }
                Access::Basic { user, secret }
            }
            Some(Login::Key { header, prefix, secret }) => {
                Access::Key { header: self.header(&format!("{at}.header"), header.as_ref()), prefix, secret }
            }
            Some(Login::Call { call, user, secret, token, expires_in, valid_secs, header, prefix }) => {
                if valid_secs == 0 {
                    self.wrong(format!("{at}.valid_secs"), "must be at least 1", "3600 is an hour");
                }
                let header = self.header(&format!("{at}.header"), header.as_ref());
                let call = compile(self, &format!("{at}.call"), &call, &["user", "password"])?;
                let valid = Duration::from_secs(valid_secs);
                Access::Call(Box::new(LoginCall { call, user, secret, token, expires_in, valid, header, prefix }))
            }
            Some(Login::Oauth2 { token_url, client_id, secret, scope, client_auth: auth }) => {
                let url = base?.join(&token_url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                if url.is_none() {
                    self.wrong(format!("{at}.token_url"), "is not a URL", "write it whole, or relative to url");
                }
                Access::Oauth { url: url?, client_id, secret, scope, auth }
            }
        })
    }

    /// Checks what answers say about themselves.
    pub fn answer(&mut self, at: &str, answer: &Answer) {
        if answer.code.trim().is_empty() {
            self.wrong(format!("{at}.code"), "is empty", "write where the code is, e.g. code; . is the whole text");
        }
        if answer.ok.is_empty() && answer.no_data.is_empty() && answer.no_data_text.is_empty() {
            self.wrong(format!("{at}.ok"), "no code means success", r#"write for example ok = ["0"]"#);
        }
        let twice = answer.ok.iter().find(|code| answer.no_data.contains(code) || answer.expired.contains(code));
        if let Some(code) = twice {
            self.wrong(format!("{at}.ok"), format!("the code {code:?} has two meanings"), "list it once");
        }
    }

    /// Checks and compiles a stream's table.
    pub fn stream<C>(
        &mut self,
        index: usize,
        stream: &StreamSpec<Stream<C>>,
        zone: Tz,
        mut compile: impl FnMut(&mut Check, &str, &C, &[&str]) -> Option<Call>,
    ) -> Option<StreamPlan> {
        let at = format!("streams[{index}]");
        let settings = &stream.settings;
        let changes = self.changes(&at, stream.mode, settings.changes.as_ref(), zone);
        let mut known = vec!["page", "offset", "size", "cursor"];
        if settings.changes.is_some() {
            known.extend(["from", "to"]);
        }
        let list = compile(self, &format!("{at}.list"), &settings.list, &known);
        if let (Some(list), Some(_)) = (&list, &settings.changes)
            && !list.uses("from")
        {
            self.wrong(format!("{at}.list"), "no template names {{ from }}", "say where the watermark is to be sent");
        }
        if let (Some(list), Some(paging)) = (&list, &settings.paging) {
            self.paging(&at, list, paging);
        }
        let mut details = Vec::new();
        for (index, detail) in settings.details.iter().enumerate() {
            let place = format!("{at}.details[{index}]");
            let call = compile(self, &format!("{place}.call"), &detail.call, &["row"]);
            if call.as_ref().is_some_and(|call| !call.uses("row")) {
                self.wrong(format!("{place}.call"), "no template names the record", "write for example {{ row.id }}");
            }
            let plain = Detail { name: detail.name.clone(), call: (), records: detail.records.clone() };
            details.extend(call.map(|call| (plain, call)));
        }
        let mut names: Vec<&String> = settings.details.iter().map(|detail| &detail.name).collect();
        names.extend(settings.downloads.iter().map(|download| &download.name));
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) || names.iter().any(|name| name.is_empty()) {
            self.wrong(format!("{at}.details"), "a name is empty or taken twice", "give each a name of its own");
        }
        let taken = settings.taken.as_ref().and_then(|taken| {
            let place = format!("{at}.taken");
            if taken.key.is_empty() {
                self.wrong(format!("{place}.key"), "is empty", "write the field that is the record's key");
            }
            let call = compile(self, &format!("{place}.call"), &taken.call, &["row", "key", "keys"])?;
            if !["row", "key", "keys"].iter().any(|name| call.uses(name)) {
                self.wrong(format!("{place}.call"), "no template names the records", "write {{ key }} or {{ keys }}");
            }
            Some((Taken { call: (), key: taken.key.clone(), accepted: taken.accepted.clone() }, call))
        });
        if stream.mode == Mode::Snapshot && settings.taken.is_some() {
            self.wrong(format!("{at}.taken"), "a catalogue is read whole each time", "leave it out");
        }
        Some(StreamPlan {
            list: list?,
            records: settings.records.clone(),
            total: settings.total.clone(),
            changes: changes?,
            paging: settings.paging.clone(),
            open: settings.open.clone(),
            details,
            downloads: settings.downloads.clone(),
            taken,
        })
    }

    fn changes(&mut self, at: &str, mode: Mode, changes: Option<&Changes>, zone: Tz) -> Option<Option<Rule>> {
        match (mode, changes) {
            (Mode::Snapshot, None) => Some(None),
            (Mode::Snapshot, Some(_)) => {
                let hint = r#"remove it, or use mode = "incremental""#;
                self.wrong(format!("{at}.changes"), "a snapshot reads everything", hint);
                None
            }
            (Mode::Push, _) => {
                self.wrong(format!("{at}.mode"), "this server is asked, it does not push", r#"use "incremental""#);
                None
            }
            (Mode::Incremental, None) => {
                let hint = r#"add changes = { start = "2024-01-01" } and name {{ from }} in list"#;
                self.wrong(format!("{at}.changes"), "an incremental stream needs it", hint);
                None
            }
            (Mode::Incremental, Some(changes)) => match Rule::new(changes, zone) {
                Ok(rule) => Some(Some(rule)),
                Err((key, message, hint)) => {
                    self.wrong(format!("{at}.changes.{key}"), message, hint);
                    None
                }
            },
        }
    }

    fn paging(&mut self, at: &str, list: &Call, paging: &Paging) {
        let wanted = match paging.by {
            PagingBy::Page => Some("page"),
            PagingBy::Offset => Some("offset"),
            PagingBy::Cursor => Some("cursor"),
            PagingBy::Link => None,
        };
        if let Some(name) = wanted.filter(|name| !list.uses(name)) {
            let message = format!("no template names {{{{ {name} }}}}");
            self.wrong(format!("{at}.list"), message, "every page would be the first one");
        }
        if paging.size == 0 {
            self.wrong(format!("{at}.paging.size"), "must be at least 1", "100 is usual");
        }
        if (paging.by == PagingBy::Cursor) != paging.cursor.is_some() {
            self.wrong(format!("{at}.paging.cursor"), "belongs to by = \"cursor\"", "write where the answer has it");
        }
    }
}
