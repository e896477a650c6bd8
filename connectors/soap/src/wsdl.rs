//! What a service says of itself: operations, parameters, and an envelope to begin with.

use connector_api::{Column, Discovered, FaultClass, Map, SourceError, Value, async_trait};
use connector_formats::xml::{self, XmlRules};
use connector_http::{Catalogue, Session};

use crate::envelope::operation_element;
use crate::settings::Version;

/// Elements of a WSDL that may stand once and often.
const LISTS: [&str; 13] = [
    "message",
    "part",
    "portType",
    "operation",
    "binding",
    "schema",
    "element",
    "complexType",
    "sequence",
    "all",
    "service",
    "port",
    "import",
];

/// How deep types are followed; they may contain themselves.
const DEEPEST: usize = 4;

/// Reads the WSDL of a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) version: Version,
    pub(crate) qualified: bool,
}

#[async_trait]
impl Catalogue for Service {
    async fn discover(&self, session: &Session, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        let what = "read the WSDL";
        let text = session.document(what, "wsdl").await?;
        let wsdl = Wsdl::read(&text).map_err(|failure| {
            SourceError::stop(FaultClass::Protocol, what)
                .because(failure)
                .hint("open url with ?wsdl in a browser: is it a WSDL? Services made of several files are not followed")
        })?;
        let found = wsdl.operations(name);
        if found.is_empty() {
            return Err(SourceError::stop(FaultClass::Missing, format!("{what}: find operations"))
                .hint("the WSDL has none of that name; those in imported files are not seen"));
        }
        Ok(found.into_iter().map(|operation| wsdl.describe(&operation, self, name.is_some())).collect())
    }
}

/// A WSDL that was read.
pub(crate) struct Wsdl {
    root: Map,
}

/// An element of a schema.
struct Part {
    name: String,
    type_name: String,
    optional: bool,
    parts: Vec<Part>,
}

impl Wsdl {
    pub(crate) fn read(text: &str) -> Result<Wsdl, connector_api::DecodeFailure> {
        let lists = LISTS.map(str::to_owned).to_vec();
        let root = xml::parse(text, &XmlRules { lists, ..XmlRules::default() })?.root;
        match root.get("#name").and_then(Value::as_text) {
            Some("definitions") => Ok(Wsdl { root }),
            _ => Err(connector_api::DecodeFailure::new("wsdl", "the root element is not \"definitions\"")),
        }
    }

    /// The operations, or the one of that name. Several ports may offer the same.
    pub(crate) fn operations(&self, name: Option<&str>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for operation in list(&self.root, "portType").flat_map(|port| list(port, "operation")) {
            let own = attribute(operation, "@name");
            if !names.iter().any(|known| known == own) && name.is_none_or(|name| name == own) {
                names.push(own.to_owned());
            }
        }
        names
    }

    /// An operation with its parameters; where one was asked for, with an envelope to begin with.
    pub(crate) fn describe(&self, operation: &str, service: &Service, whole: bool) -> Discovered {
        let namespace = attribute(&self.root, "@targetNamespace");
        let params = self.message(operation, "input");
        let mut columns: Vec<Column> = params.iter().map(column).collect();
        if whole {
            let mut say = |name: &str, text: String| {
                columns.push(Column { name: format!("({name})"), type_name: text, nullable: None });
            };
            say("namespace", namespace.to_owned());
            say("action", self.action(operation).to_owned());
            let answer = self.message(operation, "output");
            say("answer", answer.iter().map(outline).collect::<Vec<_>>().join(", "));
            say("request", envelope(namespace, operation, &params, service));
        }
        Discovered { name: operation.to_owned(), kind: "operation".to_owned(), columns, rows: None, sample: Vec::new() }
    }

    fn action(&self, operation: &str) -> &str {
        let bound = list(&self.root, "binding").flat_map(|binding| list(binding, "operation"));
        let found = bound.filter(|bound| attribute(bound, "@name") == operation);
        let actions = found.flat_map(|bound| list(bound, "operation")).map(|soap| attribute(soap, "@soapAction"));
        actions.into_iter().find(|action| !action.is_empty()).unwrap_or_default()
    }

    /// The parts of an operation's request (`input`) or response (`output`).
    fn message(&self, operation: &str, side: &str) -> Vec<Part> {
        let mut operations = list(&self.root, "portType").flat_map(|port| list(port, "operation"));
        let found = operations.find(|found| attribute(found, "@name") == operation);
        let message = found.and_then(|found| found.get(side)).and_then(Value::as_map);
        let name = message.map(|message| local(attribute(message, "@message"))).unwrap_or_default();
        let Some(message) = list(&self.root, "message").find(|message| attribute(message, "@name") == name) else {
            return Vec::new();
        };
        let parts = list(message, "part");
        let wrapped = |part: &Map| {
            let element = self.schema("element", local(attribute(part, "@element")))?;
            Some(self.children(element, 0))
        };
        parts.flat_map(|part| wrapped(part).unwrap_or_else(|| vec![self.part(part, 0)])).collect()
    }

    /// A named thing at the top of a schema.
    fn schema(&self, kind: &str, name: &str) -> Option<&Map> {
        let types = self.root.get("types").and_then(Value::as_map)?;
        let mut found = list(types, "schema").flat_map(|schema| list(schema, kind));
        found.find(|found| attribute(found, "@name") == name)
    }

    fn children(&self, element: &Map, depth: usize) -> Vec<Part> {
        let own = list(element, "complexType").next();
        let complex = own.or_else(|| self.schema("complexType", local(attribute(element, "@type"))));
        let (Some(complex), true) = (complex, depth < DEEPEST) else { return Vec::new() };
        let groups = ["sequence", "all"].into_iter().flat_map(|group| list(complex, group));
        groups.flat_map(|group| list(group, "element")).map(|element| self.part(element, depth + 1)).collect()
    }

    fn part(&self, element: &Map, depth: usize) -> Part {
        let referred = self.schema("element", local(attribute(element, "@ref")));
        let element = referred.unwrap_or(element);
        Part {
            name: attribute(element, "@name").to_owned(),
            type_name: local(attribute(element, "@type")).to_owned(),
            optional: attribute(element, "@minOccurs") == "0",
            parts: self.children(element, depth),
        }
    }
}

fn column(part: &Part) -> Column {
    let type_name = if part.parts.is_empty() { part.type_name.clone() } else { outline(part) };
    Column { name: part.name.clone(), type_name, nullable: Some(part.optional) }
}

fn outline(part: &Part) -> String {
    match part.parts.as_slice() {
        [] => part.name.clone(),
        parts => format!("{}({})", part.name, parts.iter().map(outline).collect::<Vec<_>>().join(", ")),
    }
}

/// An envelope with the names of types where values stand.
fn envelope(namespace: &str, operation: &str, params: &[Part], service: &Service) -> String {
    fn write(part: &Part, out: &mut String) {
        out.push_str(&format!("<{}>", part.name));
        match part.parts.as_slice() {
            [] => out.push_str(&part.type_name),
            parts => parts.iter().for_each(|part| write(part, out)),
        }
        out.push_str(&format!("</{}>", part.name));
    }
    let (start, end) = operation_element(namespace, operation, service.qualified);
    let mut body = String::new();
    params.iter().for_each(|part| write(part, &mut body));
    let soap = service.version.namespace();
    format!("<soap:Envelope xmlns:soap=\"{soap}\"><soap:Body>{start}{body}{end}</soap:Body></soap:Envelope>")
}

fn list<'a>(map: &'a Map, name: &str) -> impl Iterator<Item = &'a Map> + use<'a> {
    let elements = match map.get(name) {
        Some(Value::List(list)) => list.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    elements.into_iter().filter_map(Value::as_map)
}

fn attribute<'a>(map: &'a Map, name: &str) -> &'a str {
    map.get(name).and_then(Value::as_text).unwrap_or_default()
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or_default()
}
