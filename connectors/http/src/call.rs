//! One kind of call: how its request is made of templates.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connector_api::{FaultClass, SourceError};
use hmac::{Hmac, Mac as _};
use md5::Md5;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::answer::Opener;
use crate::settings::{Algorithm, Answer, Encoding, Sign};
use crate::template::{Template, TemplateError, Vars, escape_xml};
use crate::transport::Outgoing;

/// The variable that holds a signature.
const SIGN: &str = "sign";

/// A compiled call.
#[derive(Debug)]
pub struct Call {
    /// What is attempted, for messages: an operation's name or a path, without values.
    pub what: String,
    /// The HTTP method.
    pub method: Method,
    /// The path below the source's URL, or a whole URL on the same server; empty for the URL itself.
    pub path: Template,
    /// The parameters in the URL. Those that turn out empty are left out.
    pub query: Vec<(String, Template)>,
    /// Headers, with those of the source.
    pub headers: Vec<(HeaderName, Template)>,
    /// The body.
    pub body: Body,
    /// Takes the document out of the answer.
    pub opener: Arc<dyn Opener>,
    /// What the answer says about itself.
    pub answer: Option<Answer>,
}

/// A request's body.
#[derive(Debug)]
pub enum Body {
    /// There is none.
    None,
    /// Parameters as forms send them.
    Form(Vec<(String, Template)>),
    /// Pieces that are put together, with their media type.
    Pieces(Vec<Piece>, String),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Stands as it is.
    Fixed(String),
    /// A template that escapes its values itself.
    Markup(Template),
    /// Text that becomes the text of an XML element.
    XmlText(Template),
    /// The same, in CDATA sections.
    Cdata(Template),
}

impl Call {
    /// All of its templates.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let body: Vec<&Template> = match &self.body {
            Body::None => Vec::new(),
            Body::Form(form) => form.iter().map(|(_, template)| template).collect(),
            Body::Pieces(pieces, _) => pieces.iter().filter_map(Piece::template).collect(),
        };
        let pairs = self.query.iter().map(|(_, template)| template);
        std::iter::once(&self.path).chain(pairs).chain(self.headers.iter().map(|(_, template)| template)).chain(body)
    }

    /// True where one of its templates names that variable.
    pub(crate) fn uses(&self, name: &str) -> bool {
        self.templates().any(|template| template.uses(name))
    }

    /// Makes the request. `key` is the secret of the signature, where calls are signed.
    pub(crate) fn request(
        &self,
        base: &Url,
        mut vars: Vars,
        sign: Option<(&Signer, &str)>,
    ) -> Result<Outgoing, SourceError> {
        let broken = |error: TemplateError| {
            SourceError::stop(FaultClass::Other, format!("{}: make the request", self.what))
                .because(error)
                .hint("a template names a field that this record does not have, or it can't hold the value")
        };
        let signed = |template: &Template| template.uses(SIGN);
        if let Some((signer, key)) = sign {
            let form: &[(String, Template)] = if let Body::Form(form) = &self.body { form } else { &[] };
            let mut params = Vec::new();
            for (name, template) in self.query.iter().chain(form).filter(|(_, template)| !signed(template)) {
                let value = template.fill(&vars).map_err(broken)?;
                params.extend((!value.is_empty()).then(|| format!("{name}={value}")));
            }
            params.sort_unstable();
            let mut said = vars.clone();
            said.insert("params", params.join("&").into());
            said.insert("secret", key.into());
            said.insert("method", self.method.as_str().into());
            if let Body::Pieces(pieces, _) = &self.body
                && !pieces.iter().filter_map(Piece::template).any(signed)
            {
                said.insert("body", fill_pieces(pieces, &vars).map_err(broken)?.into());
            }
            vars.insert(SIGN, signer.sign(&said, key).map_err(broken)?.into());
        }
        let path = self.path.fill(&vars).map_err(broken)?;
        let elsewhere = || {
            SourceError::stop(FaultClass::Other, format!("{}: make the URL", self.what))
                .hint("a path leads to another server or is no path: write it relative to url")
        };
        let mut url = if path.is_empty() { base.clone() } else { base.join(&path).map_err(|_| elsewhere())? };
        if url.origin() != base.origin() {
            return Err(elsewhere());
        }
        let query = fill_pairs(&self.query, &vars).map_err(broken)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let value = HeaderValue::from_str(&template.fill(&vars).map_err(broken)?).map_err(|_| {
                SourceError::stop(FaultClass::Other, format!("{}: fill the header {name}", self.what))
                    .hint("headers hold plain ASCII text")
            })?;
            headers.insert(name.clone(), value);
        }
        let body = match &self.body {
            Body::None => None,
            Body::Form(form) => {
                let pairs = fill_pairs(form, &vars).map_err(broken)?;
                let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                media_type(&mut headers, "application/x-www-form-urlencoded");
                Some(Bytes::from(text))
            }
            Body::Pieces(pieces, kind) => {
                media_type(&mut headers, kind);
                Some(Bytes::from(fill_pieces(pieces, &vars).map_err(broken)?))
            }
        };
        Ok(Outgoing { method: self.method.clone(), url, headers, body })
    }
}

fn media_type(headers: &mut HeaderMap, kind: &str) {
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.entry(CONTENT_TYPE).or_insert(kind);
    }
}

fn fill_pairs<'a>(pairs: &'a [(String, Template)], vars: &Vars) -> Result<Vec<(&'a str, String)>, TemplateError> {
    let mut filled = Vec::with_capacity(pairs.len());
    for (name, template) in pairs {
        let value = template.fill(vars)?;
        filled.extend((!value.is_empty()).then_some((name.as_str(), value)));
    }
    Ok(filled)
}

fn fill_pieces(pieces: &[Piece], vars: &Vars) -> Result<String, TemplateError> {
    pieces.iter().map(|piece| piece.fill(vars)).collect()
}

impl Piece {
    fn template(&self) -> Option<&Template> {
        match self {
            Piece::Fixed(_) => None,
            Piece::Markup(template) | Piece::XmlText(template) | Piece::Cdata(template) => Some(template),
        }
    }

    fn fill(&self, vars: &Vars) -> Result<String, TemplateError> {
        let escaped = |text: &str| escape_xml(text).ok_or_else(TemplateError::not_xml);
        match self {
            Piece::Fixed(text) => Ok(text.clone()),
            Piece::Markup(template) => template.fill(vars),
            Piece::XmlText(template) => escaped(&template.fill(vars)?),
            Piece::Cdata(template) => {
                let text = template.fill(vars)?;
                escaped(&text)?;
                Ok(format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>")))
            }
        }
    }
}

/// Signs calls.
#[derive(Debug)]
pub(crate) struct Signer {
    algorithm: Algorithm,
    encoding: Encoding,
    pub(crate) text: Template,
}

impl Signer {
    pub(crate) fn new(sign: &Sign) -> Result<Signer, TemplateError> {
        let text = Template::new(&sign.text, crate::template::Place::Plain)?;
        Ok(Signer { algorithm: sign.algorithm, encoding: sign.encoding, text })
    }

    fn sign(&self, vars: &Vars, key: &str) -> Result<String, TemplateError> {
        let text = self.text.fill(vars)?;
        let (text, key) = (text.as_bytes(), key.as_bytes());
        // HMAC takes keys of any length.
        let sum: Vec<u8> = match self.algorithm {
            Algorithm::Sha256 => Sha256::digest(text).to_vec(),
            Algorithm::Md5 => Md5::digest(text).to_vec(),
            Algorithm::HmacSha256 => match Hmac::<Sha256>::new_from_slice(key) {
                Ok(mac) => mac.chain_update(text).finalize().into_bytes().to_vec(),
                Err(_) => Vec::new(),
            },
            Algorithm::HmacMd5 => match Hmac::<Md5>::new_from_slice(key) {
                Ok(mac) => mac.chain_update(text).finalize().into_bytes().to_vec(),
                Err(_) => Vec::new(),
            },
        };
        Ok(match self.encoding {
            Encoding::Hex => hex::encode(sum),
            Encoding::HexUpper => hex::encode_upper(sum),
            Encoding::Base64 => STANDARD.encode(sum),
        })
    }
}
