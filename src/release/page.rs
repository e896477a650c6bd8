//! The report as one page that needs nothing beside itself.

use std::fmt::Write as _;

use super::tally::{Group, Report};

const STYLE: &str = "body{font:15px/1.5 system-ui,'Noto Sans SC','Microsoft YaHei',sans-serif;margin:2em auto;\
max-width:72em;padding:0 1em;color:#1d2430;background:#fff}h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .8em .3em 0;\
border-bottom:1px solid #d9dee6;vertical-align:top}td.n,th.n{text-align:right}code{font:13px ui-monospace,monospace;\
overflow-wrap:anywhere}.k{display:inline-block;padding:0 .5em;border-radius:3px;background:#e7ecf5}\
.held-now,.missing{background:#f7d9d5}.released-now,.new{background:#d8efdc}.sum{font-size:1.25em}\
details{margin:.2em 0}summary{cursor:pointer}p.note{color:#576274}\
@media(prefers-color-scheme:dark){body{background:#14181f;color:#e3e7ee}th,td{border-color:#333b48}\
.k{background:#2b3442}.held-now,.missing{background:#5a2a26}.released-now,.new{background:#204a2a}p.note{color:#9aa6b8}}";

/// The report as a page in HTML, without scripts and without anything that is fetched.
pub fn page(report: &Report) -> String {
    let mut html = head("hisync replay", "Replay of the archive");
    body(&mut html, report);
    html.push_str(FOOT);
    html
}

const FOOT: &str =
    "<p class=\"note\">Values are masked; hisync explain archive:ID shows a record.</p>\n</body></html>\n";

fn head(title: &str, heading: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{heading}</h1>\n"
    )
}

/// A page of the same sort: something before the report, which is HTML, and the report where there is one.
pub fn framed(title: &str, heading: &str, before: &str, report: Option<&Report>) -> String {
    let mut html = head(title, heading);
    html.push_str(before);
    if let Some(report) = report {
        html.push_str("<h2>Replay</h2>\n");
        body(&mut html, report);
    }
    html.push_str(FOOT);
    html
}

fn body(html: &mut String, report: &Report) {
    let _ = write!(
        html,
        "<p class=\"sum\">{} of {} entities would change ({:.2} %).</p>\n\
         <p class=\"note\">{} records mapped; {} were overtaken by newer ones; {} held and still held.</p>\n",
        report.changed, report.entities, report.changed_percent, report.records, report.overtaken, report.still_held
    );
    if !report.mappings.is_empty() {
        html.push_str("<h2>Mappings</h2>\n<table><tr><th>stream<th>configured<th>tried</tr>\n");
        for pair in &report.mappings {
            let (stream, configured, tried) = (escaped(&pair.stream), escaped(&pair.configured), escaped(&pair.tried));
            let _ = writeln!(html, "<tr><td>{stream}<td><code>{configured}</code><td><code>{tried}</code></tr>");
        }
        html.push_str("</table>\n");
    }
    if !report.not_compared.is_empty() {
        html.push_str("<h2>Not compared</h2>\n<table>\n");
        for (why, n) in &report.not_compared {
            let _ = writeln!(html, "<tr><td>{}<td class=\"n\">{n}</tr>", escaped(why));
        }
        html.push_str("</table>\n");
    }
    html.push_str("<h2>By type</h2>\n<table><tr><th>type<th class=\"n\">compared<th class=\"n\">changed</tr>\n");
    for (kind, share) in &report.types {
        let (entities, changed) = (share.entities, share.changed);
        let _ = writeln!(html, "<tr><td>{kind}<td class=\"n\">{entities}<td class=\"n\">{changed}</tr>");
    }
    html.push_str("</table>\n");
    if report.changed == 0 {
        html.push_str("<p>Nothing changes.</p>\n");
    } else {
        html.push_str("<h2>By kind</h2>\n<table><tr><th>kind<th class=\"n\">entities<th class=\"n\">changes</tr>\n");
        for (kind, count) in &report.kinds {
            let (word, entities, changes) = (kind.as_str(), count.entities, count.changes);
            let _ = writeln!(
                html,
                "<tr><td><span class=\"k {word}\">{word}</span><td class=\"n\">{entities}<td class=\"n\">{changes}</tr>"
            );
        }
        html.push_str("</table>\n<h2>By field</h2>\n");
        report.groups.iter().for_each(|found| group(html, found));
        if report.more_groups > 0 {
            let _ = writeln!(html, "<p>And {} changes of further fields.</p>", report.more_groups);
        }
    }
}

fn group(html: &mut String, group: &Group) {
    let (word, count) = (group.kind.as_str(), group.count);
    let _ = writeln!(
        html,
        "<details><summary><span class=\"k {word}\">{word}</span> {} <code>{}</code>: {} entities, {} changes</summary>",
        group.entity,
        escaped(&group.field),
        count.entities,
        count.changes
    );
    if !group.codes.is_empty() {
        let mut codes: Vec<String> = group.codes.iter().map(|(code, n)| format!("{} ({n})", escaped(code))).collect();
        if group.more_codes > 0 {
            codes.push(format!("others ({})", group.more_codes));
        }
        let _ = writeln!(html, "<p>{}</p>", codes.join(", "));
    }
    if !group.pairs.is_empty() {
        html.push_str("<table><tr><th>before<th>after<th class=\"n\">times</tr>\n");
        for pair in &group.pairs {
            let (before, after) = (escaped(&pair.before), escaped(&pair.after));
            let _ = writeln!(
                html,
                "<tr><td><code>{before}</code><td><code>{after}</code><td class=\"n\">{}</tr>",
                pair.count
            );
        }
        if group.more_pairs > 0 {
            let _ = writeln!(html, "<tr><td>others<td><td class=\"n\">{}</tr>", group.more_pairs);
        }
        html.push_str("</table>\n");
    }
    for example in &group.examples {
        let place = escaped(&example.place);
        let _ = writeln!(html, "<p class=\"note\">archive:{} <code>{place}</code></p>", example.archive_id);
    }
    html.push_str("</details>\n");
}

/// A text that is no HTML.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
