//! Envelopes: made of an operation and its parameters, and opened again.

use std::sync::Arc;

use connector_api::{DecodeFailure, FaultClass, SourceError, Value};
use connector_formats::inner::unescaped;
use connector_formats::xml::{self, ControlCharacters, XmlRules};
use connector_http::{
    Body, Call as Compiled, Check, Kind, Method, Opened, Opener, Piece, Place, Reply, Template, header, masked,
    shown_code,
};

use crate::settings::{Call, Param, Settings, Version};

impl Version {
    /// The namespace of its envelopes.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Version::V11 => "http://schemas.xmlsoap.org/soap/envelope/",
            Version::V12 => "http://www.w3.org/2003/05/soap-envelope",
        }
    }
}

/// An element's name that needs no escaping; not all that XML allows, but all that services use.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Text in an attribute.
fn quoted(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The action of an operation, as .NET makes it.
fn usual_action(namespace: &str, operation: &str) -> String {
    format!("{namespace}{}{operation}", if namespace.ends_with(['/', ':', '#']) { "" } else { "/" })
}

/// The start and the end of an operation's element.
pub(crate) fn operation_element(namespace: &str, operation: &str, qualified: bool) -> (String, String) {
    let namespace = quoted(namespace);
    if qualified {
        (format!("<{operation} xmlns=\"{namespace}\">"), format!("</{operation}>"))
    } else {
        (format!("<m:{operation} xmlns:m=\"{namespace}\">"), format!("</m:{operation}>"))
    }
}

/// Compiles a call.
pub(crate) fn compile(
    check: &mut Check,
    at: &str,
    call: &Call,
    known: &[&str],
    settings: &Settings,
) -> Option<Compiled> {
    let mut pieces = vec![Piece::Fixed(format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"{}\">",
        settings.version.namespace()
    ))];
    if let Some(header) = &settings.header {
        let template = check.template("settings.header", header, Place::Xml, known)?;
        pieces.extend([Piece::Fixed("<soap:Header>".to_owned()), Piece::Markup(template)]);
        pieces.push(Piece::Fixed("</soap:Header>".to_owned()));
    }
    pieces.push(Piece::Fixed("<soap:Body>".to_owned()));
    match &call.body {
        Some(body) => {
            if !call.params.is_empty() {
                check.wrong(format!("{at}.params"), "do not go together with body", "leave one of them out");
            }
            pieces.push(Piece::Markup(check.template(&format!("{at}.body"), body, Place::Xml, known)?));
        }
        None if !is_name(&call.operation) => {
            check.wrong(format!("{at}.operation"), "is not an operation's name", "`hisync discover` lists them");
            return None;
        }
        None => {
            let (start, end) = operation_element(&settings.namespace, &call.operation, settings.qualified);
            pieces.push(Piece::Fixed(start));
            for (index, param) in call.params.iter().enumerate() {
                pieces.extend(parameter(check, &format!("{at}.params[{index}]"), param, known)?);
            }
            pieces.push(Piece::Fixed(end));
        }
    }
    pieces.push(Piece::Fixed("</soap:Body></soap:Envelope>".to_owned()));
    let action = call.action.clone().unwrap_or_else(|| match call.operation.as_str() {
        "" => String::new(),
        operation => usual_action(&settings.namespace, operation),
    });
    if action.contains(['"', '\\']) || !action.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        check.wrong(format!("{at}.action"), "holds signs that a header can't carry", "write it as the WSDL has it");
        return None;
    }
    let mut headers = check.headers("settings.headers", &settings.headers, known);
    let kind = match settings.version {
        Version::V11 => {
            let value = Template::fixed(&format!("\"{action}\""))?;
            headers.push((header::HeaderName::from_static("soapaction"), value));
            "text/xml; charset=utf-8".to_owned()
        }
        Version::V12 if action.is_empty() => "application/soap+xml; charset=utf-8".to_owned(),
        Version::V12 => format!("application/soap+xml; charset=utf-8; action=\"{action}\""),
    };
    if let Some(answer) = &call.answer {
        check.answer(&format!("{at}.answer"), answer);
    }
    let name = if call.operation.is_empty() { "the service" } else { &call.operation };
    Some(Compiled {
        what: format!("call {name:?}"),
        method: Method::POST,
        path: Template::fixed("")?,
        query: Vec::new(),
        headers,
        body: Body::Pieces(pieces, kind),
        opener: Arc::new(Envelope { result: call.result.clone() }),
        answer: call.answer.as_ref().or(settings.answer.as_ref()).cloned(),
    })
}

fn parameter(check: &mut Check, at: &str, param: &Param, known: &[&str]) -> Option<[Piece; 3]> {
    if !is_name(&param.name) {
        check.wrong(format!("{at}.name"), "is not a parameter's name", "write it as the WSDL has it");
        return None;
    }
    let place = match param.value.trim_start().as_bytes() {
        [b'<', ..] => Place::Xml,
        // `{{` begins a variable, not a document.
        [b'{', next, ..] if *next != b'{' && *next != b'%' => Place::Json,
        [b'[', ..] => Place::Json,
        _ => Place::Plain,
    };
    let template = check.template(&format!("{at}.value"), &param.value, place, known)?;
    let value = if param.cdata { Piece::Cdata(template) } else { Piece::XmlText(template) };
    Some([Piece::Fixed(format!("<{}>", param.name)), value, Piece::Fixed(format!("</{}>", param.name))])
}

/// Takes results out of envelopes.
#[derive(Debug)]
pub(crate) struct Envelope {
    result: Option<String>,
}

impl Opener for Envelope {
    /// A fault comes with one of these, and says more.
    fn reads_status(&self, status: u16) -> bool {
        matches!(status, 400 | 500)
    }

    fn open(
        &self,
        what: &str,
        reply: &Reply,
        text: String,
        rules: &XmlRules,
        talkative: bool,
    ) -> Result<Opened, SourceError> {
        let broken = |failure: DecodeFailure| {
            SourceError::retry(FaultClass::Protocol, format!("{what}: read the envelope"))
                .because(failure)
                .hint("the answer is cut off or no SOAP; if it stays so, check url and version")
        };
        let bodies = match xml::records(&text, "Envelope.Body", rules) {
            // Judged by its status alone, which is a failure.
            Err(_) if reply.status >= 400 => return Ok(Opened::of(String::new())),
            found => found.map_err(broken)?,
        };
        let Some(body) = bodies.first() else {
            return Err(broken(DecodeFailure::new("soap-body", "the envelope has no body")));
        };
        let parts = xml::records(body, "*.*", rules).map_err(broken)?;
        let Some(response) = parts.first() else { return Ok(Opened::of(String::new())) };
        if xml::name_of(response, rules) == "Fault" {
            return Err(fault(what, response, rules, talkative));
        }
        let result = match &self.result {
            Some(path) => {
                let found = xml::records(response, &format!("*.{path}"), rules).unwrap_or_default();
                found.first().copied().ok_or_else(|| {
                    let there = xml::records(response, "*.*", rules).unwrap_or_default();
                    let names: Vec<&str> = there.iter().map(|element| xml::name_of(element, rules)).collect();
                    SourceError::stop(FaultClass::Data, format!("{what}: find the result {path:?}"))
                        .hint(format!("the response has: {}", names.join(", ")))
                })?
            }
            None => match xml::records(response, "*.*", rules).map_err(broken)?.as_slice() {
                [only] => only,
                _ => response,
            },
        };
        // Elements are a document; text may hold one.
        if !xml::records(result, "*.*", rules).map_err(broken)?.is_empty() {
            return Ok(Opened { kind: Kind::Xml, text: result.to_owned() });
        }
        // Control characters are judged record by record, and hold no more than the one they are in.
        let lenient = XmlRules { control_characters: ControlCharacters::Keep, ..rules.clone() };
        let inner = match xml::field(result, "", &lenient).map_err(broken)? {
            Some(Value::Text(text)) => text,
            Some(Value::Map(map)) => map.get("#text").and_then(Value::as_text).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        Ok(Opened::of(unescaped(&inner)))
    }
}

/// The failure that a fault says. Its words are for a person who looks: they may name somebody.
fn fault(what: &str, fault: &str, rules: &XmlRules, talkative: bool) -> SourceError {
    let first = |paths: [&str; 2]| {
        let found = paths.into_iter().find_map(|path| xml::field(fault, path, rules).ok().flatten());
        match found {
            Some(Value::Text(text)) => text.trim().to_owned(),
            Some(Value::Map(map)) => map.get("#text").and_then(Value::as_text).unwrap_or_default().trim().to_owned(),
            _ => String::new(),
        }
    };
    let code = first(["Fault.faultcode", "Fault.Code.Value"]);
    let code = code.rsplit(':').next().unwrap_or_default();
    let reason = if talkative {
        format!(": {}", masked(&first(["Fault.faultstring", "Fault.Reason.Text"])))
    } else {
        String::new()
    };
    let standard = matches!(code, "VersionMismatch" | "MustUnderstand" | "DataEncodingUnknown");
    let says = format!("{what}: the service answers a fault {}{reason}", shown_code(code, talkative || standard));
    let ours = code.starts_with("Client") || matches!(code, "Sender" | "VersionMismatch" | "MustUnderstand");
    if ours {
        SourceError::stop(FaultClass::Protocol, says).hint(
            "it does not take the request: compare operation, params, namespace and action with the WSDL \
             (`hisync discover`); `hisync check` shows its own words",
        )
    } else {
        SourceError::retry(FaultClass::Protocol, says)
            .hint("it failed by itself; `hisync check` shows its own words, for its own people")
    }
}

#[cfg(test)]
mod tests;
