//! A record with what belongs to it: the answers of its detail calls, and its files.

use connector_api::{DecodeFailure, FaultClass, Map, Record, SourceError, Value};
use connector_formats::charset::{Charset, is_marked};

use super::WebPoller;
use crate::answer::{Cut, Kind, Opened, unreadable, word};
use crate::decoder::{at, document, record, unit};
use crate::marks::Mark;
use crate::session::{Answered, file_url};
use crate::settings::Download;
use crate::template::{Vars, visible_map};

impl WebPoller {
    /// Makes a record: its own bytes, or with its details and files the document of them all.
    pub(super) async fn complete(&self, cut: &Cut) -> Result<(Record, Option<Mark>), SourceError> {
        let plan = &self.plan;
        let what = &plan.list.what;
        let own = record(cut, &plan.open, &self.session.rules, what);
        let Ok(listed) = &own.document else { return Ok((own, None)) };
        let row = visible_map(&listed.root);
        let mark = match &plan.taken {
            None => None,
            Some((taken, _)) => {
                match at(&listed.root, &taken.key).filter(|key| word(key).is_some_and(|key| !key.is_empty())) {
                    Some(key) => Some(Mark::new(key, row.clone())),
                    None => {
                        let failure = DecodeFailure::new("null-key", "the record has no key to be marked by");
                        return Ok((unit(listed.root.clone(), Some(failure), what), None));
                    }
                }
            }
        };
        if plan.details.is_empty() && plan.downloads.is_empty() {
            return Ok((own, mark));
        }
        let mut root = listed.root.clone();
        let mut failure = None;
        let vars = Vars::from([("row", row)]);
        for (detail, call) in &plan.details {
            let answered = self.session.call(call, &vars, None, false).await?;
            let value = self.detail(answered, detail.records.as_deref(), &call.what)?;
            self.put(&mut root, &detail.name, value, &mut failure)?;
        }
        for download in &plan.downloads {
            let value = self.download(&listed.root, download).await?;
            self.put(&mut root, &download.name, value, &mut failure)?;
        }
        let mark = mark.filter(|_| failure.is_none());
        Ok((unit(root, failure, what), mark))
    }

    fn put(
        &self,
        root: &mut Map,
        name: &str,
        value: Result<Value, DecodeFailure>,
        failure: &mut Option<DecodeFailure>,
    ) -> Result<(), SourceError> {
        if root.get(name).is_some() {
            let says = format!("{}: put {name:?} into the record", self.plan.list.what);
            return Err(SourceError::stop(FaultClass::Other, says)
                .hint("it has a field of that name already: give the detail or download another name"));
        }
        match value {
            Ok(value) => root.push(name, value),
            Err(found) => drop(failure.get_or_insert(found)),
        }
        Ok(())
    }

    /// What a detail's answer says. One that can't be decoded holds its record, not the stream.
    fn detail(
        &self,
        answered: Answered,
        records: Option<&str>,
        what: &str,
    ) -> Result<Result<Value, DecodeFailure>, SourceError> {
        let rules = &self.session.rules;
        let Some(opened) = answered.opened else {
            return Ok(Ok(if records.is_some() { Value::List(Vec::new()) } else { Value::Null }));
        };
        if is_marked(&opened.text) {
            let detail = format!("{what}: bytes that are no {} characters", answered.charset.name());
            return Ok(Err(DecodeFailure::new("text-charset", detail)));
        }
        let Some(path) = records else { return Ok(whole(&opened, rules)) };
        let cuts = opened.records(path, Charset::Utf8, true, rules).map_err(|failure| unreadable(what, failure))?;
        let values = cuts.iter().map(|cut| document(cut.kind, &cut.text, &[], rules).map(|read| Value::Map(read.root)));
        Ok(values.collect::<Result<Vec<_>, _>>().map(Value::List))
    }

    /// A file's bytes; null where the record names none. A file that is missing, or a web page in its
    /// place, holds the record: no report leaves without what belongs to it.
    async fn download(&self, root: &Map, download: &Download) -> Result<Result<Value, DecodeFailure>, SourceError> {
        let what = format!("fetch {:?}", download.name);
        let text = at(root, &download.url).and_then(word).unwrap_or_default();
        if text.is_empty() {
            return Ok(Ok(Value::Null));
        }
        let base = self.session.shared.transport.base();
        let Some(url) = file_url(base, &text, &download.hosts) else {
            return Err(SourceError::stop(FaultClass::Other, format!("{what}: its URL leads to another server"))
                .hint("name that server in the download's hosts, if it is to be trusted"));
        };
        let reply = self.session.fetch(&what, url, download.max_bytes).await?;
        if matches!(reply.status, 404 | 410) || (reply.status == 200 && (reply.is_web_page() || reply.body.is_empty()))
        {
            let detail = format!("{what}: no file was answered (HTTP {})", reply.status);
            return Ok(Err(DecodeFailure::new("download-missing", detail)));
        }
        match reply.refused(&what) {
            Some(error) => Err(error),
            None => Ok(Ok(Value::Bytes(reply.body.to_vec()))),
        }
    }
}

fn whole(opened: &Opened, rules: &connector_formats::xml::XmlRules) -> Result<Value, DecodeFailure> {
    match opened.kind {
        Kind::Json => connector_formats::json::parse(&opened.text),
        Kind::Xml => connector_formats::xml::parse(&opened.text, rules).map(|read| Value::Map(read.root)),
        Kind::Text => Ok(Value::Text(opened.text.clone())),
    }
}
