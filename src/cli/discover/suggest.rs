//! A first mapping from what a table looks like: each guess with its reason, doubtful ones as comments.

use std::collections::BTreeMap;

use connector_api::{Discovered, Value};

use super::meanings::{self, Level, Meaning, Named, Shape};
use super::shapes::{Fit, Values};
use crate::model::EntityType;

/// A column with the values of the sample.
struct Column {
    name: String,
    values: Values,
}

/// A guess: this column for that field.
struct Guess {
    meaning: &'static Meaning,
    column: usize,
    why: String,
}

/// The guesses for one table.
struct Picked {
    columns: Vec<Column>,
    sure: Vec<Guess>,
    doubtful: Vec<Guess>,
    unused: Vec<usize>,
}

impl Picked {
    fn of(table: &Discovered, levels: &[Level]) -> Picked {
        let mut picked = Picked { columns: Vec::new(), sure: Vec::new(), doubtful: Vec::new(), unused: Vec::new() };
        for column in &table.columns {
            let values = table.sample.iter().map(|row| row.get(&column.name).cloned().unwrap_or(Value::Null));
            picked.columns.push(Column { name: column.name.clone(), values: Values::of(values) });
        }
        for at in 0..picked.columns.len() {
            picked.column(at, levels);
        }
        picked
    }

    fn column(&mut self, at: usize, levels: &[Level]) {
        let Column { name, values } = &self.columns[at];
        let mut named = meanings::of(name);
        named.retain(|(meaning, _)| levels.contains(&meaning.level));
        let (fitting, other): (Vec<_>, Vec<_>) = named
            .into_iter()
            .map(|(meaning, named)| (meaning, named, values.fit(meaning.shape)))
            .partition(|(_, named, fit)| *named == Named::Exactly && !matches!(fit, Fit::No(_)));
        let certain: Vec<_> = fitting.iter().filter(|(.., fit)| matches!(fit, Fit::Yes(_))).collect();
        let chosen = match (fitting.as_slice(), certain.as_slice()) {
            ([one], _) => Some(one),
            (_, [one]) => Some(*one),
            _ => None,
        };
        let guess = |meaning: &'static Meaning, why: String| Guess { meaning, column: at, why };
        if let Some((meaning, _, Fit::Yes(seen) | Fit::Open(seen) | Fit::No(seen))) = chosen {
            let first = self.sure.iter().find(|sure| same(sure.meaning, meaning));
            match first {
                Some(first) => {
                    let other = &self.columns[first.column].name;
                    self.doubtful.push(guess(meaning, format!("named like it too, and {other} was taken; {seen}")));
                }
                None => self.sure.push(guess(meaning, format!("by its name; {seen}"))),
            }
            return;
        }
        if fitting.is_empty() && other.is_empty() {
            match values.certain_shape() {
                Some(shape) if levels.contains(&Level::Examinee) => {
                    let field = if shape == Shape::CitizenId { "SFZH" } else { "SJH" };
                    let found = meanings::of(field).into_iter().next();
                    let why = "its name says nothing, and its values look like it".to_owned();
                    self.doubtful.extend(found.map(|(meaning, _)| guess(meaning, why)));
                }
                _ => self.unused.push(at),
            }
            return;
        }
        let ambiguous = fitting.len() > 1;
        for (meaning, named, fit) in fitting.into_iter().chain(other) {
            let (Fit::Yes(seen) | Fit::Open(seen) | Fit::No(seen)) = fit;
            let how = match named {
                Named::Exactly if ambiguous => "its name has several meanings",
                Named::Exactly => "its name says so, its values don't",
                Named::InPart => "a part of its name says so",
            };
            self.doubtful.push(guess(meaning, format!("{how}; {seen}")));
        }
    }

    fn has(&self, field: &str) -> bool {
        self.sure.iter().any(|guess| guess.meaning.field == field)
    }

    fn name_of(&self, level: Level, field: &str) -> Option<&str> {
        let guess = self.sure.iter().find(|guess| guess.meaning.level == level && guess.meaning.field == field)?;
        Some(&self.columns[guess.column].name)
    }
}

fn same(left: &Meaning, right: &Meaning) -> bool {
    left.level == right.level && left.field == right.field
}

/// A first mapping with its code tables.
pub(super) struct Suggestion {
    /// The mapping file's text.
    pub(super) mapping: String,
    /// Code tables to fill, by their path beside the mapping.
    pub(super) tables: BTreeMap<String, String>,
}

/// The entity that a table's columns speak of most.
pub(super) fn entity_of(table: &Discovered) -> EntityType {
    let picked = |levels: &[Level]| Picked::of(table, levels);
    let package = picked(&[Level::Package]);
    if picked(&[Level::Visit]).has("exam_no") || picked(&[Level::Examinee]).has("id_number") {
        EntityType::ExamReport
    } else if package.has("package_code") && package.sure.len() >= 2 {
        EntityType::ExamPackage
    } else if picked(&[Level::DictionaryItem]).has("item_code") {
        EntityType::ExamItem
    } else if picked(&[Level::DictionaryGroup]).has("group_code") {
        EntityType::ExamItemGroup
    } else {
        EntityType::ExamReport
    }
}

/// Writes a first mapping of a table, and of the tables with its parts by the names of their lists.
pub(super) fn suggest(entity: EntityType, table: &Discovered, children: &[(String, Discovered)]) -> Suggestion {
    let mut page = Page { entity, text: String::new(), tables: BTreeMap::new() };
    let header: &[Level] = match entity {
        EntityType::ExamReport => &[Level::Examinee, Level::Visit, Level::Report, Level::Change],
        EntityType::ExamPackage => &[Level::Package, Level::Change],
        EntityType::ExamItem => &[Level::DictionaryItem, Level::Change],
        EntityType::ExamItemGroup => &[Level::DictionaryGroup, Level::Change],
        EntityType::CriticalValue => &[],
    };
    let parts: &[Level] = match entity {
        EntityType::ExamReport => &[Level::Group, Level::Item, Level::Conclusion],
        EntityType::ExamPackage => &[Level::PackageItem],
        EntityType::ExamItem | EntityType::ExamItemGroup | EntityType::CriticalValue => &[],
    };
    let mut lists: Vec<(String, Picked)> =
        children.iter().map(|(name, table)| (name.clone(), Picked::of(table, parts))).collect();
    let own = Picked::of(table, parts);
    let flat = lists.is_empty() && own.sure.len() >= 2;
    let all: Vec<Level> = if flat { [header, parts].concat() } else { header.to_vec() };
    let head = Picked::of(table, &all);
    if flat {
        lists.push(("rows".to_owned(), own));
    }
    page.head(&head, table, children, flat);
    match entity {
        EntityType::ExamReport => page.report(&head, &lists),
        EntityType::ExamPackage => page.package(&head, &lists),
        EntityType::ExamItem => page.section("fields", &head, &[Level::DictionaryItem]),
        EntityType::ExamItemGroup => {
            page.section("fields", &head, &[Level::DictionaryGroup]);
            page.remark("A group's items are a list `members`: see docs/mapping.md and --child.");
        }
        EntityType::CriticalValue => {}
    }
    page.unused(table, &head);
    for ((_, table), (_, picked)) in children.iter().zip(&lists) {
        page.unused(table, picked);
    }
    let Page { text, tables, .. } = page;
    let sections = text.find("\n[fields]").unwrap_or(text.len());
    let mut codes = String::new();
    for name in tables.keys() {
        let name = name.trim_start_matches("codes/").trim_end_matches(".csv");
        codes.push_str(&format!("\n[codes.{name}]\nfile = \"codes/{name}.csv\"\nunknown = \"hold\"\n"));
    }
    Suggestion { mapping: format!("{}{codes}{}", &text[..sections], &text[sections..]), tables }
}

struct Page {
    entity: EntityType,
    text: String,
    tables: BTreeMap<String, String>,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn remark(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }

    fn head(&mut self, head: &Picked, table: &Discovered, children: &[(String, Discovered)], flat: bool) {
        let entity = self.entity;
        self.remark(&format!(
            "A first mapping of {:?}, guessed from names of columns and a sample of values.",
            table.name
        ));
        self.remark("Each guess says why. Check every one; what starts with `#` is doubtful and not in force.");
        self.remark("");
        self.remark("The stream that it reads (each name as the source spells it):");
        let (level, field) = match entity {
            EntityType::ExamReport => (Level::Visit, "exam_no"),
            EntityType::ExamPackage => (Level::Package, "package_code"),
            EntityType::ExamItem => (Level::DictionaryItem, "item_code"),
            EntityType::ExamItemGroup => (Level::DictionaryGroup, "group_code"),
            EntityType::CriticalValue => (Level::Visit, "exam_no"),
        };
        let key = head.name_of(level, field).map(str::to_owned);
        let shown = key.clone().unwrap_or_else(|| "WHICH COLUMN?".to_owned());
        let group = if flat { ", group = true" } else { "" };
        let watermark = match (entity, head.name_of(Level::Change, "watermark")) {
            (EntityType::ExamReport, Some(column)) => {
                format!(", watermark = {{ column = {column:?}, type = \"timestamp\", lag_secs = 600 }}")
            }
            (EntityType::ExamReport, None) => ", watermark = { column = \"WHICH TELLS OF CHANGES?\", …".to_owned(),
            _ => String::new(),
        };
        self.remark(&format!("  fetch = {{ from = {:?}, key = [{shown:?}]{group}{watermark} }}", table.name));
        for (list, child) in children {
            self.remark(&format!("  children: {{ name = {list:?}, from = {:?}, key = [{shown:?}] }}", child.name));
        }
        self.line(&format!("\n[mapping]\nentity = \"{entity}\"\n\n[key]"));
        match key {
            Some(key) => self.line(&format!("parts = [{}]", named(&key))),
            None => self
                .line(&format!("# No column looks like the {field}. What identifies one for ever?\n# parts = [\"…\"]")),
        }
    }

    fn report(&mut self, head: &Picked, lists: &[(String, Picked)]) {
        self.section("fields", head, &[Level::Report]);
        self.remark(
            "What kind of reports does the view hold? health, occupational, department, lab, imaging, certificate",
        );
        self.remark("report_kind = { const = \"health\", reason = \"the view holds whole checkups only\" }");
        if !head.has("status") {
            self.remark("No column says how far a report is. Only if the view holds nothing but issued ones:");
            self.remark("status = { const = \"final\", reason = \"the view holds issued reports only\" }");
        }
        self.section("fields.examinee", head, &[Level::Examinee]);
        if let (false, Some(number)) = (head.has("examinee_key"), head.name_of(Level::Visit, "exam_no")) {
            let number = named(number);
            self.remark("No archive number of the person was found: the exam number stands for it.");
            self.line(&format!("examinee_key = {number}"));
        }
        self.section("fields.visit", head, &[Level::Visit]);
        let results = lists.iter().find(|(_, picked)| picked.has("item_code") || picked.has("value"));
        match results {
            None => {
                self.remark("");
                self.remark("No table with results was found: name it with --child items=TABLE.");
            }
            Some((list, picked)) => {
                self.line("\n[fields.groups]");
                self.line(&format!("each = {list:?}"));
                match picked.name_of(Level::Group, "group_code") {
                    Some(code) => self.line(&format!("group_by = [{}]", named(code))),
                    None => self.remark("group_by = [\"WHICH COLUMN NAMES THE GROUP ITEM 组合?\"]"),
                }
                self.section("fields.groups.fields", picked, &[Level::Group]);
                self.line("\n[fields.groups.fields.items]\neach = \"rows\"");
                self.section("fields.groups.fields.items.fields", picked, &[Level::Item]);
            }
        }
        if let Some((list, picked)) =
            lists.iter().find(|(_, picked)| picked.name_of(Level::Conclusion, "text").is_some())
            && list != "rows"
        {
            self.line(&format!("\n[fields.conclusions]\neach = {list:?}"));
            self.section("fields.conclusions.fields", picked, &[Level::Conclusion]);
            self.remark("summary, abnormal, diagnosis, suggestion …: what does the table hold?");
            self.remark("kind = { const = \"summary\", reason = \"the table holds summaries only\" }");
        }
    }

    fn package(&mut self, head: &Picked, lists: &[(String, Picked)]) {
        self.section("fields", head, &[Level::Package]);
        for (line, question) in [
            ("exam_kind = { const = \"health\", reason = \"…\" }", "health checkups only, or a column that tells?"),
            ("currency = { const = \"CNY\", reason = \"…\" }", "are all prices in yuan?"),
            ("selection_mode = { const = \"fixed\", reason = \"…\" }", "can items be chosen?"),
            ("scope = { const = \"public\", reason = \"…\" }", "for everybody, or for one company?"),
        ] {
            self.remark(&format!("{question}\n# {line}"));
        }
        match lists.iter().find(|(_, picked)| picked.has("group_code")) {
            None => self.remark("No table with the package's items was found: name it with --child items=TABLE."),
            Some((list, picked)) => {
                self.line(&format!("\n[fields.items]\neach = {list:?}"));
                self.section("fields.items.fields", picked, &[Level::PackageItem]);
                if !picked.has("role") {
                    self.remark("Only if every item of every package is always done:");
                    self.remark("role = { const = \"mandatory\", reason = \"packages know no choice\" }");
                }
            }
        }
    }

    fn section(&mut self, header: &str, picked: &Picked, levels: &[Level]) {
        self.line(&format!("\n[{header}]"));
        let here = |guess: &&Guess| levels.contains(&guess.meaning.level);
        let bounds = ["reference_low", "reference_high"]
            .map(|field| picked.sure.iter().filter(here).find(|guess| guess.meaning.field == field));
        for guess in picked.sure.iter().filter(here) {
            let column = &picked.columns[guess.column];
            if guess.meaning.shape == Shape::Bound {
                continue;
            }
            match self.reading(guess.meaning, column) {
                Ok(line) => {
                    let check = check(guess.meaning.field).map(|check| format!("; check: {check}")).unwrap_or_default();
                    self.remark(&format!("{}: {}{check}", column.name, guess.why));
                    self.line(&format!("{} = {line}", guess.meaning.field));
                }
                Err((line, doubt)) => {
                    self.remark(&format!("{}: {}. DOUBTFUL: {doubt}", column.name, guess.why));
                    self.remark(&format!("{} = {line}", guess.meaning.field));
                }
            }
        }
        match bounds {
            [Some(low), Some(high)]
                if !picked.sure.iter().filter(here).any(|guess| guess.meaning.field == "reference") =>
            {
                let [low, high] = [low, high].map(|guess| named(&picked.columns[guess.column].name));
                self.remark("the two ends of a range, by their names");
                self.line(&format!("reference = {{ low = {low}, high = {high} }}"));
            }
            [None, None] => {}
            _ => self.remark("One end of a range was found without the other, or beside a whole one: see `reference`."),
        }
        for guess in picked.doubtful.iter().filter(here) {
            let column = &picked.columns[guess.column];
            let (Ok(line) | Err((line, _))) = self.doubted(guess.meaning, column);
            self.remark(&format!("{}: {}", column.name, guess.why));
            self.remark(&format!("{} = {line}", guess.meaning.field));
        }
    }

    /// The line of a doubtful guess: no code table is written for it.
    fn doubted(&mut self, meaning: &'static Meaning, column: &Column) -> Result<String, (String, String)> {
        let before = self.tables.clone();
        let line = self.reading(meaning, column);
        self.tables = before;
        line
    }

    /// How a column is read; `Err` with the line and the doubt where the values leave one.
    fn reading(&mut self, meaning: &'static Meaning, column: &Column) -> Result<String, (String, String)> {
        let name = named(&column.name);
        let values = &column.values;
        match meaning.shape {
            Shape::Date | Shape::Time => {
                let mut line = format!("{{ from = {name}");
                let formats = values.formats().unwrap_or_default();
                if !formats.is_empty() {
                    line.push_str(&format!(", format = {formats:?}"));
                }
                let none = values.sentinels();
                if !none.is_empty() {
                    let none: Vec<&str> = none.into_iter().collect();
                    line.push_str(&format!(", none = {none:?} }}"));
                    let doubt = "days that programs write for none were seen: do they mean none here?";
                    return Err((line, doubt.to_owned()));
                }
                Ok(if formats.is_empty() { name } else { line + " }" })
            }
            Shape::Codes(table) => {
                self.table(table, meaning.field, values);
                Ok(format!("{{ from = {name}, codes = \"{table}\" }}"))
            }
            Shape::Flag if values.are_flags() => {
                let line = format!("{{ from = {name}, empty = \"unknown\" }}");
                Ok(line + "   # empty = \"normal\" only if an empty flag means that here")
            }
            Shape::Flag => {
                self.table("flag", meaning.field, values);
                Ok(format!("{{ from = {name}, codes = \"flag\" }}"))
            }
            Shape::Money => {
                let parts = values.texts.iter().any(|text| text.contains('.'));
                let line = format!("{{ from = {name}, scale = \"yuan\" }}");
                match parts {
                    true => Ok(line + "   # fen have no fraction"),
                    false => {
                        Err((line, "whole numbers may be yuan or fen: ask, or compare with a price list".to_owned()))
                    }
                }
            }
            Shape::Switch => {
                let seen: Vec<String> = values.codes().into_iter().flatten().map(|code| format!("{code:?}")).collect();
                let line = format!("{{ off = [{{ from = {name}, is = [\"…\"], reason = \"…\" }}] }}");
                Err((line, format!("which values turn it off? seen: {}", seen.join(", "))))
            }
            _ => Ok(name),
        }
    }

    /// A code table to fill: the codes that were seen. Only words that say what they mean are filled in.
    fn table(&mut self, table: &str, field: &str, values: &Values) {
        let words = words(self.entity, field).join(", ");
        let path = format!("codes/{table}.csv");
        let text =
            self.tables.entry(path).or_insert_with(|| "local_code,local_name,standard_code,standard_name\n".to_owned());
        for code in values.codes().into_iter().flatten() {
            let known = match (table, code) {
                ("sex", "男" | "male" | "M") => "male",
                ("sex", "女" | "female" | "F") => "female",
                _ => "",
            };
            let line = format!("{},,{known},\n", csv_field(code));
            if !text.contains(&line) {
                text.push_str(&line);
            }
        }
        self.remark(&format!("codes/{table}.csv: fill in what each code means; the words are {words}"));
    }

    fn unused(&mut self, table: &Discovered, picked: &Picked) {
        let names: Vec<&str> = picked.unused.iter().map(|at| picked.columns[*at].name.as_str()).collect();
        if !names.is_empty() {
            self.line("");
            self.remark(&format!("Columns of {:?} that nothing was guessed for: {}", table.name, names.join(", ")));
        }
    }
}

/// What a person should make sure of, where it is not plain.
fn check(field: &str) -> Option<&'static str> {
    Some(match field {
        "examinee_key" => "it stays the same at the person's next visit, and is never the name",
        "exam_no" => "one visit has one number, also after a correction",
        "issued_at" => "it is the report's time, not the last edit's",
        "sale_price_minor" | "original_price_minor" => "which of the prices is asked, and which is crossed out",
        "reference" => "ranges by sex or age stand in this column too",
        "package_code" | "item_code" | "group_code" => "it is the code that other tables use, not a row id",
        "stated_age" => "it is in years",
        _ => return None,
    })
}

fn csv_field(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A name of the source as a mapping writes it.
fn named(column: &str) -> String {
    let plain = column.chars().all(|c| c.is_alphanumeric() || c == '_');
    if plain { format!("\"{column}\"") } else { format!("'\"{column}\"'") }
}

/// The words that a field of an entity may have.
fn words(entity: EntityType, field: &str) -> Vec<String> {
    if field == "flag" {
        return ["normal", "low", "high", "critical_low", "critical_high", "abnormal", "negative", "positive"]
            .map(str::to_owned)
            .to_vec();
    }
    let schema = crate::model::schema::entity_schema(entity).to_value();
    let mut found = Vec::new();
    search(&schema, &schema, field, &mut found);
    found
}

fn search(root: &serde_json::Value, at: &serde_json::Value, field: &str, found: &mut Vec<String>) {
    if !found.is_empty() {
        return;
    }
    if let Some(property) = at.pointer("/properties").and_then(|all| all.get(field)) {
        collect(root, property, found);
    }
    match at {
        serde_json::Value::Object(map) => map.values().for_each(|inner| search(root, inner, field, found)),
        serde_json::Value::Array(list) => list.iter().for_each(|inner| search(root, inner, field, found)),
        _ => {}
    }
}

fn collect(root: &serde_json::Value, at: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(target) = at["$ref"].as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#'))) {
        collect(root, target, found);
    }
    found.extend(at["const"].as_str().map(str::to_owned));
    found.extend(at["enum"].as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())));
    for options in ["anyOf", "oneOf"] {
        at[options].as_array().into_iter().flatten().for_each(|option| collect(root, option, found));
    }
}
