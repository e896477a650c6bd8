//! Files that lie beside a record and belong to it: which ones a record names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::{DecodeFailure, Document, Map, Value};
use connector_formats::bundle::MAX_FILES;

use crate::settings::After;

/// The rules for the files beside the records of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Attachments {
    /// The fields that name them, as configured and as paths of names.
    pub(crate) fields: Vec<String>,
    pub(crate) separators: Vec<char>,
    /// Where they lie.
    pub(crate) folder: PathBuf,
    /// What names begin with before the path below the folder; `/` between the parts.
    pub(crate) prefix: Option<String>,
    pub(crate) wait: Duration,
    pub(crate) after: After,
}

/// A file that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) field: String,
    /// The name as it was written.
    pub(crate) name: String,
    /// Where it must be; `None` where the name leads out of the folder.
    pub(crate) path: Option<PathBuf>,
}

impl Attachments {
    /// The files that a document names, each once. With `columns` every field must be there.
    pub(crate) fn named(&self, document: &Document, columns: bool) -> Result<Vec<Named>, DecodeFailure> {
        let mut found: Vec<Named> = Vec::new();
        for field in &self.fields {
            let mut texts = Vec::new();
            let whole = collect(&document.root, field, &mut texts);
            if columns && !whole {
                let what = format!("the record has no field {field:?}, which should name its files");
                return Err(DecodeFailure::new("attachment-field", what));
            }
            let names = texts.into_iter().flat_map(|text| text.split(&*self.separators)).map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                let named = Named { field: field.clone(), name: name.to_owned(), path: self.path(name) };
                if !found.iter().any(|other| other.name == named.name) {
                    found.push(named);
                }
            }
        }
        if found.len() > MAX_FILES {
            let what = format!("the record names {} files, and {MAX_FILES} are allowed", found.len());
            return Err(DecodeFailure::new("attachment-count", what));
        }
        Ok(found)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let name = name.replace('\\', "/");
        let below = match &self.prefix {
            Some(prefix) => {
                let begin = name.get(..prefix.len())?;
                begin.eq_ignore_ascii_case(prefix).then(|| name[prefix.len()..].trim_start_matches('/'))?
            }
            None => name.rsplit('/').next().unwrap_or(&name),
        };
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        below.split('/').all(plain).then(|| self.folder.join(Path::new(below)))
    }
}

/// The texts at a path of names joined by dots, through lists. False where a name is missing.
fn collect<'a>(map: &'a Map, path: &str, found: &mut Vec<&'a str>) -> bool {
    if let Some(value) = map.get(path) {
        return texts(value, None, found);
    }
    // A name may have a dot of its own: the longest that fits comes first.
    let dots = path.rmatch_indices('.').map(|(at, _)| at);
    let below = dots.into_iter().find_map(|at| Some((map.get(&path[..at])?, &path[at + 1..])));
    below.is_some_and(|(value, rest)| texts(value, Some(rest), found))
}

fn texts<'a>(value: &'a Value, path: Option<&str>, found: &mut Vec<&'a str>) -> bool {
    match (value, path) {
        (Value::List(list), path) => {
            // Each is looked at, also after one that lacks the name.
            let missing = list.iter().filter(|one| !texts(one, path, found)).count();
            missing == 0
        }
        (Value::Text(text), None) => {
            found.push(text);
            true
        }
        (Value::Map(map), Some(path)) => collect(map, path, found),
        // An element with attributes beside its text.
        (Value::Map(map), None) => map.get("#text").is_some_and(|text| texts(text, None, found)),
        (Value::Null, _) => true,
        (_, None) => true,
        (_, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(fields: &[&str], prefix: Option<&str>) -> Attachments {
        Attachments {
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            separators: vec![';', ','],
            folder: PathBuf::from("/share"),
            prefix: prefix.map(str::to_owned),
            wait: Duration::from_secs(1),
            after: After::Keep,
        }
    }

    fn paths(rules: &Attachments, text: &str) -> Vec<Option<String>> {
        let document = Document::new(Map::from_iter([("TPLJ", Value::from(text))]));
        let named = rules.named(&document, true).unwrap();
        named.into_iter().map(|one| one.path.map(|path| path.display().to_string())).collect()
    }

    #[test]
    fn names_are_split_and_lead_nowhere_but_into_the_folder() {
        let last = rules(&["TPLJ"], None);
        let of = |names: &[&str]| names.iter().map(|name| Some(format!("/share/{name}"))).collect::<Vec<_>>();
        assert_eq!(paths(&last, "a.jpg;b.jpg, c.jpg;;a.jpg"), of(&["a.jpg", "b.jpg", "c.jpg"]));
        assert_eq!(paths(&last, "D:\\PACS\\2026\\a.jpg"), of(&["a.jpg"]));
        assert_eq!(paths(&last, "\\\\nas\\x\\..;/etc/"), [None, None]);
        let below = rules(&["TPLJ"], Some("d:/pacs"));
        assert_eq!(paths(&below, "D:\\PACS\\2026\\a.jpg"), of(&["2026/a.jpg"]));
        assert_eq!(paths(&below, "D:\\PACS\\..\\a.jpg;E:\\a.jpg;短"), [None, None, None]);
    }

    #[test]
    fn fields_are_found_through_lists_and_their_absence_from_a_table_is_a_mistake() {
        let row = |name: &str| Value::Map(Map::from_iter([("a.b", Value::from(name))]));
        let document = Document::new(Map::from_iter([("rows", Value::List(vec![row("1.pdf"), row("2.pdf")]))]));
        let named = rules(&["rows.a.b"], None).named(&document, true).unwrap();
        assert_eq!(named.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["1.pdf", "2.pdf"]);
        let absent = rules(&["rows.c"], None);
        assert_eq!(absent.named(&document, true).unwrap_err().code, "attachment-field");
        assert_eq!(absent.named(&document, false), Ok(Vec::new()));
    }
}
