//! XML, read into nested values.
//!
//! # The document
//!
//! The root holds the root element's name as `#name`, its attributes as `@name`, and its child
//! elements by their names. An element is
//! - text, where it has neither attributes nor child elements (empty text where it is empty);
//! - else a map: attributes as `@name`, children by name, and text beside them as `#text`, where
//!   it is more than the blanks between tags;
//! - null, where it says `xsi:nil="true"`, with whatever prefix, and holds nothing.
//!
//! Children of one name become a list as soon as there are two, in the place of the first. Names
//! in [`XmlRules::lists`] are lists always, also with one element. A mapping's `each` reads both.
//!
//! Prefixes of namespaces are dropped unless [`XmlRules::prefixes`] keeps them. Declarations of
//! namespaces and `xsi:` attributes say nothing about the content and are left out. CDATA is text.
//!
//! # Refused
//!
//! Document type declarations, with them every entity but the five standard ones and character
//! references; markup that is not well-formed; nesting beyond [`MAX_DEPTH`]; characters that XML
//! does not allow, unless [`XmlRules::control_characters`] keeps them.

use std::collections::HashMap;

use bytes::Bytes;
use connector_api::{DecodeFailure, Decoder, Document, Map, Raw, Value};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::QName;

use crate::charset::Charset;
use crate::text::{self, Prefer, TextPolicy, byte_order_mark};

/// The format name of a [`Raw`] body that holds one XML document.
pub const FORMAT: &str = "application/xml";

/// How deep elements may stand inside each other.
pub const MAX_DEPTH: usize = 128;

/// The name under which a document's root says the name of its element.
const ROOT_NAME: &str = "#name";

/// How XML becomes values.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XmlRules {
    /// Names of elements that are lists also where there is only one.
    #[serde(default)]
    pub lists: Vec<String>,
    /// What becomes of the prefixes of names.
    #[serde(default)]
    pub prefixes: Prefixes,
    /// What becomes of a document with control characters, which XML does not allow.
    #[serde(default)]
    pub control_characters: ControlCharacters,
}

/// What becomes of the prefixes of element and attribute names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prefixes {
    /// `soap:Body` is `Body`.
    #[default]
    Drop,
    /// `soap:Body` is `soap:Body`.
    Keep,
}

/// What becomes of a document with control characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ControlCharacters {
    /// It is held for a person.
    #[default]
    Hold,
    /// They stay in the text.
    Keep,
}

impl XmlRules {
    fn name<'a>(&self, name: QName<'a>) -> &'a str {
        let whole = name.into_inner();
        match self.prefixes {
            Prefixes::Keep => whole,
            Prefixes::Drop => whole.split_once(':').map_or(whole, |(_, local)| local),
        }
    }

    fn allows(&self, c: char) -> bool {
        let legal = matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..);
        legal || self.control_characters == ControlCharacters::Keep
    }
}

/// Reads a whole document, or one element cut out of one by [`records`].
///
/// Text that was decoded already is taken as it is: what an XML declaration says about its
/// character set is no longer true and does not matter.
///
/// Fails with `xml-syntax`, `xml-doctype`, `xml-entity`, `xml-depth` or `xml-control`.
pub fn parse(text: &str, rules: &XmlRules) -> Result<Document, DecodeFailure> {
    let mut scan = Scan::new(text);
    if let Some(offset) = scan.text.char_indices().find(|(_, c)| !rules.allows(*c)).map(|(offset, _)| offset) {
        return Err(DecodeFailure::new("xml-control", format!("a character at byte {offset} is not allowed in XML")));
    }
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    while let Some(event) = scan.next()? {
        match event {
            Event::Start(start) => {
                let element = Element::begin(&start, open.is_empty(), &open, rules, &scan)?;
                open.push(element);
            }
            Event::Empty(start) => {
                close(Element::begin(&start, open.is_empty(), &open, rules, &scan)?, &mut open, &mut root, rules)
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(element, &mut open, &mut root, rules);
                }
            }
            Event::Text(text) => open.last_mut().into_iter().for_each(|element| element.text += &text.xml10_content()),
            Event::CData(text) => open.last_mut().into_iter().for_each(|element| element.text += &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let entity = || DecodeFailure::new("xml-entity", format!("unknown entity before byte {}", scan.at()));
                let number = reference.resolve_char_ref().map_err(|_| entity())?;
                match (open.last_mut(), number) {
                    (Some(element), Some(c)) if rules.allows(c) => element.text.push(c),
                    (Some(element), None) => {
                        element.text += resolve_predefined_entity(&reference).ok_or_else(entity)?;
                    }
                    _ => return Err(entity()),
                }
            }
            _ => {}
        }
    }
    match root.ok_or_else(|| scan.broken("there is no element"))? {
        (_, Value::Map(map)) => Ok(Document::new(map)),
        (name, _) => Ok(Document::new(Map::from_iter([(ROOT_NAME, name)]))),
    }
}

/// The text of each record: the elements at `path`, names from the root element's on, joined by
/// dots (`Reports.Report`); the whole text where the path is empty. `*` stands for any name.
///
/// The text must be well-formed as a whole. Fails as [`parse`] does for that, and with `xml-path`
/// where even the element that should hold the records is not there.
pub fn records<'a>(text: &'a str, path: &str, rules: &XmlRules) -> Result<Vec<&'a str>, DecodeFailure> {
    let path: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
    let mut scan = Scan::new(text);
    let whole = scan.text;
    let mut found = Vec::new();
    // How many of the path's names the open elements agree with, and the best of that.
    let (mut agreed, mut reached) = (0, 0);
    let mut begun = 0;
    loop {
        let from = scan.at();
        let Some(event) = scan.next()? else { break };
        let (start, end) = match &event {
            Event::Start(start) => (Some(start), false),
            Event::Empty(start) => (Some(start), true),
            Event::End(_) => (None, true),
            _ => continue,
        };
        let depth = scan.depth + usize::from(end);
        if let Some(start) = start
            && agreed + 1 == depth
            && path.get(agreed).is_some_and(|name| *name == "*" || *name == rules.name(start.name()))
        {
            agreed += 1;
            reached = reached.max(agreed);
            begun = if agreed == path.len() { from } else { begun };
        }
        if end && agreed == depth {
            if agreed == path.len() {
                found.push(&whole[begun..scan.at()]);
            }
            agreed -= 1;
        }
    }
    if path.is_empty() {
        return Ok(vec![whole]);
    }
    if reached + 1 < path.len() || reached == 0 {
        let name = path.get(reached).copied().unwrap_or_default();
        return Err(DecodeFailure::new("xml-path", format!("there is no {name:?} on the way of the records")));
    }
    Ok(found)
}

/// The first value at `path`, as [`records`] finds it: an element's text, or its map; `@name` at the
/// path's end is an attribute. What stands elsewhere in the document need not be readable.
///
/// Fails as [`parse`] does.
pub fn field(text: &str, path: &str, rules: &XmlRules) -> Result<Option<Value>, DecodeFailure> {
    let (path, attribute) = match path.rsplit_once('.') {
        Some((path, attribute)) if attribute.starts_with('@') => (path, Some(attribute)),
        _ => (path, None),
    };
    let found = match records(text, path, rules) {
        Err(failure) if failure.code == "xml-path" => return Ok(None),
        found => found?,
    };
    let Some(element) = found.first() else { return Ok(None) };
    if let Some(attribute) = attribute {
        let mut scan = Scan::new(element);
        while let Some(event) = scan.next()? {
            if let Event::Start(start) | Event::Empty(start) = event {
                let own = Element::begin(&start, false, &[], rules, &scan)?;
                return Ok(own.attributes.get(attribute).cloned());
            }
        }
        return Ok(None);
    }
    let root = parse(element, rules)?.root;
    let plain = root.names().all(|name| name == ROOT_NAME || name == "#text");
    Ok(Some(if plain { root.get("#text").cloned().unwrap_or(Value::Text(String::new())) } else { Value::Map(root) }))
}

/// The name of the element that a text begins with, by the rules for names.
pub fn name_of<'a>(element: &'a str, rules: &XmlRules) -> &'a str {
    let end = |c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>');
    rules.name(QName(element.trim_start_matches('<').split(end).next().unwrap_or_default()))
}

/// What a document says about its own character set: by its XML declaration, or by the zero bytes
/// of UTF-16 around its first sign.
pub fn declared(bytes: &[u8]) -> Option<&str> {
    let bytes = byte_order_mark(bytes).map_or(bytes, |(length, _)| &bytes[length..]);
    if bytes.starts_with(b"<\0") {
        return Some("utf-16le");
    }
    if bytes.starts_with(b"\0<") {
        return Some("utf-16be");
    }
    let content = bytes.trim_ascii_start().strip_prefix(b"<?xml")?;
    let content = &content[..content.windows(2).take(256).position(|pair| pair == b"?>")?];
    let content = std::str::from_utf8(content).ok()?;
    let value = content.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split_once(quote).map(|(name, _)| name)
}

/// Chooses a document's character set. `transport` is what the transport declares, which counts
/// before the document's own declaration.
pub fn choose(policy: &TextPolicy, transport: Option<&str>, bytes: &[u8]) -> Result<Charset, DecodeFailure> {
    let own = declared(bytes);
    let charset = policy.choose(transport.or(own), bytes)?;
    // Its declaration could be read byte by byte, so this is not true.
    if !charset.extends_ascii() && bytes.trim_ascii_start().starts_with(b"<?xml") {
        let way = if policy.prefer == Prefer::Declared { "; prefer = \"configured\" ignores that" } else { "" };
        return Err(DecodeFailure::new("text-charset", format!("{} was said, but it is not{way}", charset.name())));
    }
    Ok(charset)
}

/// Markup event by event, with what every use of it refuses.
struct Scan<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    depth: usize,
    rooted: bool,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Scan<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Sent so by programs that begin their text with a blank line; XML wants its declaration first.
        let text = text.trim_ascii_start();
        Scan { text, reader: Reader::from_str(text), depth: 0, rooted: false }
    }

    /// The place behind what was read, in bytes.
    fn at(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX).min(self.text.len())
    }

    fn broken(&self, what: &str) -> DecodeFailure {
        DecodeFailure::new("xml-syntax", format!("{what}, before byte {}", self.at()))
    }

    /// The next event; `None` at the end of a document with one root element.
    fn next(&mut self) -> Result<Option<Event<'a>>, DecodeFailure> {
        let event = self.reader.read_event().map_err(|_| {
            let offset = self.reader.error_position();
            DecodeFailure::new("xml-syntax", format!("not well-formed at byte {offset}"))
        })?;
        match &event {
            Event::DocType(_) => {
                return Err(DecodeFailure::new("xml-doctype", "document type declarations are not read"));
            }
            Event::Start(_) | Event::Empty(_) if self.depth == 0 && self.rooted => {
                return Err(self.broken("a second root element"));
            }
            Event::Start(_) => {
                self.rooted = true;
                self.depth += 1;
            }
            Event::Empty(_) => self.rooted = true,
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Text(text) if self.depth == 0 && !text.trim_ascii().is_empty() => {
                return Err(self.broken("text outside of the root element"));
            }
            Event::CData(_) | Event::GeneralRef(_) if self.depth == 0 => {
                return Err(self.broken("text outside of the root element"));
            }
            Event::Eof if self.depth > 0 => return Err(self.broken("the document ends too early")),
            Event::Eof if !self.rooted => return Err(self.broken("there is no element")),
            Event::Eof => return Ok(None),
            _ => {}
        }
        if self.depth > MAX_DEPTH {
            return Err(DecodeFailure::new("xml-depth", format!("more than {MAX_DEPTH} levels")));
        }
        Ok(Some(event))
    }
}

/// An element that is being read.
struct Element {
    name: String,
    attributes: Map,
    /// The prefixes that it declares, and whether they stand for XMLSchema-instance.
    prefixes: Vec<(String, bool)>,
    nil: bool,
    text: String,
    children: Vec<(String, Vec<Value>)>,
    places: HashMap<String, usize>,
}

impl Element {
    fn begin(
        start: &BytesStart<'_>,
        root: bool,
        open: &[Element],
        rules: &XmlRules,
        scan: &Scan<'_>,
    ) -> Result<Element, DecodeFailure> {
        let name = rules.name(start.name()).to_owned();
        let mut attributes = Map::new();
        let mut nil = false;
        if root {
            attributes.push(ROOT_NAME, name.as_str());
        }
        // Declared anywhere among the attributes, also behind the one that needs it.
        let prefixes: Vec<(String, bool)> = start
            .attributes()
            .flatten()
            .filter_map(|attribute| {
                let prefix = attribute.key.into_inner().strip_prefix("xmlns:")?.to_owned();
                Some((prefix, is_instance(&attribute.normalized_value(XmlVersion::Implicit1_0).ok()?)))
            })
            .collect();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| scan.broken("an attribute is not well-formed"))?;
            let whole = attribute.key.into_inner();
            if whole == "xmlns" || whole.starts_with("xmlns:") {
                continue;
            }
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .ok()
                .filter(|value| value.chars().all(|c| rules.allows(c)))
                .ok_or_else(|| DecodeFailure::new("xml-entity", format!("unknown entity before byte {}", scan.at())))?;
            if let Some((prefix, local)) = whole.split_once(':') {
                let scopes = std::iter::once(&prefixes).chain(open.iter().rev().map(|element| &element.prefixes));
                let mut declared = scopes.flatten().filter(|(name, _)| name == prefix).map(|(_, instance)| *instance);
                if says_of_itself(prefix, local, &value, declared.next()) {
                    nil |= local == "nil" && matches!(value.trim(), "true" | "1");
                    continue;
                }
            }
            attributes.push(format!("@{}", rules.name(attribute.key)), value.into_owned());
        }
        let (text, children, places) = (String::new(), Vec::new(), HashMap::new());
        Ok(Element { name, attributes, prefixes, nil, text, children, places })
    }

    fn add(&mut self, name: String, value: Value) {
        match self.places.get(&name) {
            Some(at) => self.children[*at].1.push(value),
            None => {
                self.places.insert(name.clone(), self.children.len());
                self.children.push((name, vec![value]));
            }
        }
    }

    fn finish(self, rules: &XmlRules) -> (String, Value) {
        let blank = self.text.trim_ascii().is_empty();
        if self.children.is_empty() {
            if self.nil && blank {
                return (self.name, Value::Null);
            }
            if self.attributes.is_empty() {
                return (self.name, Value::Text(self.text));
            }
        }
        let mut map = self.attributes;
        let keeps_text = if self.children.is_empty() { !self.text.is_empty() } else { !blank };
        for (name, mut values) in self.children {
            match values.len() {
                1 if !rules.lists.contains(&name) => map.push(name, values.swap_remove(0)),
                _ => map.push(name, values),
            }
        }
        if keeps_text {
            map.push("#text", self.text);
        }
        (self.name, Value::Map(map))
    }
}

/// Whether a namespace is that of `xsi:nil` and `xsi:type`, of whatever year.
fn is_instance(namespace: &str) -> bool {
    let namespace = namespace.trim();
    namespace.starts_with("http://www.w3.org/") && namespace.ends_with("/XMLSchema-instance")
}

/// Whether an attribute with a prefix is one of XMLSchema-instance. `declared` says what its prefix
/// stands for; nothing, where the element was cut out of the one that declares it.
fn says_of_itself(prefix: &str, local: &str, value: &str, declared: Option<bool>) -> bool {
    if prefix == "xsi" {
        return true;
    }
    declared.unwrap_or_else(|| match local {
        "nil" => matches!(value.trim(), "true" | "1" | "false" | "0"),
        // WCF's own prefix. Another one's type may be a value.
        "type" => prefix == "i",
        _ => false,
    })
}

fn close(element: Element, open: &mut [Element], root: &mut Option<(String, Value)>, rules: &XmlRules) {
    let (name, value) = element.finish(rules);
    match open.last_mut() {
        Some(parent) => parent.add(name, value),
        None => *root = Some((name, value)),
    }
}

/// Decodes bodies that are one XML document, at receipt and again from the archive.
#[derive(Clone, Debug, Default)]
pub struct XmlDecoder {
    policy: TextPolicy,
    rules: XmlRules,
}

impl XmlDecoder {
    /// A decoder for one source.
    pub fn new(policy: TextPolicy, rules: XmlRules) -> XmlDecoder {
        XmlDecoder { policy, rules }
    }

    /// Decodes a body as it was received and says how to archive it. `transport` is the character
    /// set that its transport names, where it names one.
    ///
    /// The chosen character set is recorded only where the bytes decode under it.
    pub fn receive(&self, body: Bytes, transport: Option<&str>) -> (Raw, Result<Document, DecodeFailure>) {
        let decoded = choose(&self.policy, transport, &body)
            .and_then(|charset| text::decode(charset, &body).map(|text| (charset, parse(&text, &self.rules))));
        let (charset, document) = match decoded {
            Ok((charset, document)) => (Some(charset.name().to_owned()), document),
            Err(failure) => (None, Err(failure)),
        };
        (Raw { format: FORMAT.to_owned(), charset, body }, document)
    }
}

impl Decoder for XmlDecoder {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format != FORMAT {
            return Err(DecodeFailure::new("format", format!("a {} body is not XML", raw.format)));
        }
        let charset = match &raw.charset {
            Some(_) => self.policy.archived(raw, None)?,
            None => choose(&self.policy, None, &raw.body)?,
        };
        parse(&text::decode(charset, &raw.body)?, &self.rules)
    }
}

#[cfg(test)]
mod tests;
