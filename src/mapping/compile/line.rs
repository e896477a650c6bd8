//! Compiles one line of `[fields]`: where a value comes from and how it is read.

use std::sync::Arc;

use super::{Compiler, ENVIRONMENT, TEXT, Target, did_you_mean, nearest};
use crate::diagnose::Problem;
use crate::mapping::node::Node;
use crate::mapping::plan::*;
use crate::mapping::readers::date::Grammar;
use crate::mapping::readers::number::Scale;
use crate::mapping::readers::result;
use crate::mapping::rules::concepts;
use crate::mapping::shape::Kind;
use crate::mapping::source::SourcePath;
use crate::mapping::tree::{Entry, Leaf, Table, Tree};

impl Compiler<'_> {
    pub(super) fn alternatives(&mut self, tree: &Tree, target: Target) -> Vec<Alternative> {
        match &tree.leaf {
            Leaf::List(list) => list.iter().filter_map(|tree| self.alternative(tree, target)).collect(),
            _ => self.alternative(tree, target).into_iter().collect(),
        }
    }

    fn alternative(&mut self, tree: &Tree, target: Target) -> Option<Alternative> {
        let mut plan = Alternative {
            source: Source::Nothing,
            when: None,
            none: Vec::new(),
            none_days: Vec::new(),
            optional: false,
            codes: None,
            grammars: Vec::new(),
            zone: None,
            time: None,
            scale: None,
            absent: Lookup::default(),
            empty: None,
            split: Vec::new(),
            named: None,
            default: None,
        };
        let empty = Table::new();
        let table = match &tree.leaf {
            Leaf::Text(text) => {
                plan.source = Source::From(vec![self.path(text, &tree.spot)?]);
                &empty
            }
            Leaf::Table(table) => {
                self.source(table, tree, target, &mut plan);
                table
            }
            _ => {
                let problem =
                    tree.spot.problem("wrong-type", format!("a name of the source is expected, not {}", tree.kind()));
                self.problem(problem.hint("a fixed value is written: { const = …, reason = \"…\" }"));
                return None;
            }
        };
        self.reading(table, tree, target, &mut plan);
        Some(plan)
    }

    fn source(&mut self, table: &Table, tree: &Tree, target: Target, plan: &mut Alternative) {
        const KNOWN: &[&str] = &[
            "from", "const", "expr", "with", "low", "high", "default", "reason", "when", "codes", "format", "zone",
            "time", "none", "scale", "absent", "empty", "optional", "split", "named",
        ];
        self.keys(table, KNOWN, "unknown-key", "key of a field");
        let ways = ["from", "const", "expr"].into_iter().filter(|way| table.contains_key(*way)).count();
        let bounds = table.contains_key("low") && table.contains_key("high");
        if ways + usize::from(bounds) > 1 {
            let problem =
                tree.spot.problem("two-sources", "a field has one of `from`, `const`, `expr`, `low` with `high`");
            self.problem(problem.hint("several ways are a list: [ { from = … }, { const = … } ]"));
            return;
        }
        if ways == 0 && !bounds && !table.contains_key("default") {
            let problem = tree.spot.problem("missing-key", "nothing says where the value comes from");
            self.problem(problem.hint("write: { from = \"COLUMN\" }"));
        }
        if let Some(entry) = table.get("from") {
            plan.source = Source::From(self.paths(&entry.tree));
        } else if let Some(entry) = table.get("const") {
            if let Some(node) = self.constant(&entry.tree, target) {
                plan.source = Source::Const(node);
            }
        } else if table.contains_key("expr") {
            if let Some(expression) = self.expression(table, "expr") {
                plan.source = Source::Expr(expression);
            }
        } else if bounds
            && let (Some(low), Some(high)) = (self.path_entry(table.get("low")), self.path_entry(table.get("high")))
        {
            plan.source = Source::Bounds(low, high);
        }
        if let Some(entry) = table.get("default") {
            plan.default = self.constant(&entry.tree, target);
            if !table.contains_key("reason") {
                let problem = entry.key.problem("missing-reason", "a default must be justified");
                self.problem(problem.hint("add: reason = \"why this is true where the source says nothing\""));
            }
        }
        plan.when = self.condition(table);
        plan.optional = self.truth(table.get("optional"));
        plan.none = self.plain_texts(table.get("none"));
        if matches!(target, Target::Kind(Kind::Date | Kind::Time)) {
            plan.none_days = plan.none.iter().filter_map(|none| none.parse().ok()).collect();
        }
        plan.split = self.plain_texts(table.get("split"));
        plan.named = self.path_entry(table.get("named"));
        if let Some(entry) = table.get("named")
            && !matches!(target, Target::Composite(Composite::Content))
        {
            self.problem(entry.key.problem("useless-key", "`named` is for the `content` of attachments only"));
        }
        if matches!(target, Target::Composite(Composite::Content)) && !matches!(plan.source, Source::From(_)) {
            let problem = tree.spot.problem("wrong-type", "the content of a file comes from the record");
            self.problem(problem.hint("write: { from = \"COLUMN\" }"));
        }
    }

    fn reading(&mut self, table: &Table, tree: &Tree, target: Target, plan: &mut Alternative) {
        if let Some(entry) = table.get("codes") {
            self.bind_codes(entry, target, plan);
        }
        let needs_codes = matches!(target, Target::Kind(Kind::Enum(_)));
        let reads = matches!(plan.source, Source::From(_));
        if needs_codes && reads && plan.codes.is_none() && !table.contains_key("codes") {
            let problem = tree.spot.problem("missing-codes", "local codes mean nothing without a code table");
            self.problem(problem.hint("write: { from = \"…\", codes = \"NAME\" } and a table [codes.NAME]"));
        }
        for (text, spot) in table.get("format").map(|entry| self.texts(&entry.tree)).unwrap_or_default() {
            match Grammar::parse(&text) {
                Ok(grammar) => plan.grammars.push(grammar),
                Err(reason) => {
                    let problem = spot.problem("bad-format", format!("{text:?} can't match any date: {reason}"));
                    self.problem(problem.hint("for example \"%Y-%m-%d %H:%M:%S\", \"%Y%m%d\" or \"epoch_ms\""));
                }
            }
        }
        plan.time = self.path_entry(table.get("time"));
        if table.contains_key("time") && !matches!(target, Target::Kind(Kind::Time)) {
            self.problem(tree.spot.problem("useless-key", "`time` is for points in time only"));
        }
        if table.contains_key("format") && !matches!(target, Target::Kind(Kind::Date | Kind::Time)) {
            self.problem(tree.spot.problem("useless-key", "`format` is for dates and times only"));
        }
        if let Some(zone) = self.text(table.get("zone")) {
            match zone.parse() {
                Ok(zone) => plan.zone = Some(zone),
                Err(_) => {
                    let spot = &table.get("zone").map_or(&tree.spot, |entry| &entry.tree.spot).clone();
                    self.problem(
                        spot.problem("unknown-zone", format!("{zone:?} is no time zone"))
                            .hint("for example \"Asia/Shanghai\""),
                    );
                }
            }
        }
        let scale = self.text(table.get("scale"));
        plan.scale = match scale.as_deref() {
            Some("yuan") => Some(Scale::Yuan),
            Some("fen") => Some(Scale::Fen),
            Some(word) => {
                let spot = &table.get("scale").map_or(&tree.spot, |entry| &entry.tree.spot).clone();
                self.problem(
                    spot.problem("bad-word", format!("{word:?} is no scale of money")).hint("one of: yuan, fen"),
                );
                None
            }
            None => {
                if matches!(target, Target::Kind(Kind::Money))
                    && !matches!(plan.source, Source::Const(_) | Source::Nothing)
                {
                    let problem = tree.spot.problem("missing-scale", "a price says what it is counted in");
                    self.problem(problem.hint("write: { from = \"…\", scale = \"yuan\" } or \"fen\""));
                }
                None
            }
        };
        self.words(table, target, plan);
    }

    /// `absent` and `empty`: words of results and flags.
    fn words(&mut self, table: &Table, target: Target, plan: &mut Alternative) {
        if let Some(entry) = table.get("absent") {
            if !matches!(target, Target::Composite(Composite::Value)) {
                self.problem(entry.key.problem("useless-key", "`absent` is for results only"));
            }
            const REASONS: [&str; 6] =
                ["refused", "given_up", "specimen_rejected", "pending", "not_applicable", "instrument_error"];
            let words = self.expect_table(Some(entry)).cloned().unwrap_or_default();
            for (word, reason) in &words {
                let Some(text) = self.text(Some(reason)) else { continue };
                if REASONS.contains(&text.as_str()) {
                    plan.absent.insert(word.clone(), text);
                } else {
                    let problem = reason.tree.spot.problem("unknown-word", format!("{text:?} is no absence reason"));
                    self.problem(did_you_mean(problem, &text, REASONS));
                }
            }
        }
        if let Some(entry) = table.get("empty") {
            let text = self.text(Some(entry));
            match text.as_deref() {
                Some("normal") if matches!(target, Target::Composite(Composite::Flag)) => {
                    plan.empty = Some("normal".to_owned());
                }
                Some("unknown") | None => {}
                Some(_) => self.problem(
                    entry
                        .key
                        .problem("bad-word", "`empty` says what an empty flag means")
                        .hint("one of: normal, unknown"),
                ),
            }
        }
    }

    fn bind_codes(&mut self, entry: &Entry, target: Target, plan: &mut Alternative) {
        let Some(name) = self.text(Some(entry)) else { return };
        let Some(loaded) = self.codes.get(&name) else {
            let problem = entry.tree.spot.problem("unknown-codes", format!("there is no code table `{name}`"));
            let names: Vec<String> = self.codes.keys().cloned().collect();
            let problem = if names.is_empty() {
                problem.hint(format!("add a section [codes.{name}]"))
            } else {
                did_you_mean(problem, &name, names.iter().map(String::as_str))
            };
            self.problem(problem);
            return;
        };
        plan.codes = Some(Arc::clone(&loaded.table));
        if matches!(target, Target::Kind(Kind::Concept)) {
            return self.check_concepts(&name);
        }
        let words: Vec<&str> = match target {
            Target::Kind(Kind::Enum(words)) => words.iter().map(String::as_str).collect(),
            Target::Kind(Kind::Bool) | Target::Composite(Composite::Critical) => vec!["true", "false"],
            Target::Composite(Composite::Flag) => vec![
                "normal",
                "low",
                "high",
                "critical_low",
                "critical_high",
                "abnormal",
                "negative",
                "positive",
                "indeterminate",
            ],
            _ => return,
        };
        if !self.told.insert((name.clone(), words.join(" "))) {
            return;
        }
        let wrong: Vec<Problem> = loaded
            .places
            .iter()
            .filter(|(standard, _)| !words.contains(&standard.as_str()))
            .map(|(standard, spot)| {
                let problem =
                    spot.problem("unknown-word", format!("{standard:?} is no value of the field that uses `{name}`"));
                did_you_mean(problem, standard, words.iter().copied())
            })
            .collect();
        wrong.into_iter().for_each(|problem| self.problem(problem));
    }

    /// The standard codes of a table that says what items are: hisync's own words, or LOINC.
    fn check_concepts(&mut self, name: &str) {
        if !self.told.insert((name.to_owned(), "concepts".to_owned())) {
            return;
        }
        let Some(loaded) = self.codes.get(name) else { return };
        let wrong = loaded.places.iter().filter(|(standard, _)| !concepts::is_code(standard));
        let wrong: Vec<Problem> = wrong
            .map(|(standard, spot)| {
                let problem = spot.problem("unknown-word", format!("{standard:?} is neither a concept nor LOINC"));
                problem.hint(match nearest(standard, concepts::words()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => "docs/rules.md lists the words; a LOINC code is written 14749-6".to_owned(),
                })
            })
            .collect();
        wrong.into_iter().for_each(|problem| self.problem(problem));
    }

    /// A value that is written in the file, in the model's own words.
    fn constant(&mut self, tree: &Tree, target: Target) -> Option<Node<'static>> {
        let owned = |text: &str| Some(Node::Text(text.to_owned().into()));
        let kind = match target {
            Target::Kind(kind) => kind,
            Target::Composite(Composite::Critical) => &Kind::Bool,
            Target::Composite(_) => &TEXT,
        };
        let (node, expected) = match (kind, &tree.leaf) {
            (Kind::Enum(words), Leaf::Text(text)) => {
                if !words.contains(text) {
                    let problem = tree.spot.problem("unknown-word", format!("{text:?} is no value of this field"));
                    self.problem(did_you_mean(problem, text, words.iter().map(String::as_str)));
                    return None;
                }
                (owned(text), "")
            }
            (Kind::Concept, Leaf::Text(text)) => {
                if !concepts::is_code(text) {
                    let problem = tree.spot.problem("unknown-word", format!("{text:?} names no concept"));
                    self.problem(did_you_mean(problem, text, concepts::words()));
                    return None;
                }
                (owned(text), "")
            }
            (Kind::Text | Kind::Name | Kind::IdNumber | Kind::Texts, Leaf::Text(text)) => (owned(text), ""),
            (Kind::Bool, Leaf::Bool(truth)) => (Some(Node::Bool(*truth)), ""),
            (Kind::Integer | Kind::Money | Kind::Age, Leaf::Integer(number)) => (Some(Node::Integer(*number)), ""),
            (Kind::Decimal, Leaf::Text(text)) => (
                matches!(result::read(text), result::Reading::Numeric(_)).then(|| owned(text)).flatten(),
                "a number in quotes",
            ),
            (Kind::Date, Leaf::Text(text)) => {
                (text.parse::<chrono::NaiveDate>().ok().and_then(|_| owned(text)), "a date as \"2026-11-22\"")
            }
            (Kind::Time, Leaf::Text(text)) => (
                chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|_| owned(text)),
                "a time as \"2026-11-22T08:00:00+08:00\"",
            ),
            (Kind::Enum(_), _) => (None, "a word of the model in quotes"),
            (Kind::Bool, _) => (None, "true or false"),
            (Kind::Money, _) => (None, "a whole number of fen"),
            (Kind::Integer | Kind::Age, _) => (None, "a whole number"),
            _ => (None, "text in quotes"),
        };
        if node.is_none() {
            self.problem(tree.spot.problem("wrong-type", format!("{expected} is expected, not {}", tree.kind())));
        }
        node
    }

    /// `when`: an expression, or `{ from = "COLUMN", is = ["1"] }`.
    pub(super) fn condition(&mut self, table: &Table) -> Option<Condition> {
        let entry = table.get("when")?;
        let Some(words) = entry.tree.table() else { return self.expression(table, "when").map(Condition::Expression) };
        self.keys(words, &["from", "is", "is_not"], "unknown-key", "key of a condition");
        if words.contains_key("is") == words.contains_key("is_not") || !words.contains_key("from") {
            let problem = entry.tree.spot.problem("bad-condition", "a condition has `from` and one of `is`, `is_not`");
            self.problem(problem.hint("for example: when = { from = \"SFYX\", is_not = [\"0\"] }"));
            return None;
        }
        let inside = words.contains_key("is");
        let list = self.plain_texts(words.get(if inside { "is" } else { "is_not" }));
        Some(Condition::Words { from: self.path_entry(words.get("from"))?, words: list, inside })
    }

    /// The expression under `key`, with what it needs from a record.
    pub(super) fn expression(&mut self, table: &Table, key: &str) -> Option<Expression> {
        let entry = table.get(key)?;
        let text = self.text(Some(entry))?;
        let mut needs = Vec::new();
        let with = self.expect_table(table.get("with")).cloned().unwrap_or_default();
        for (name, entry) in &with {
            if let Some(path) = self.path_entry(Some(entry)) {
                needs.push(Need::Bound(name.clone(), path));
            }
        }
        let compiled = match ENVIRONMENT.compile_expression_owned(text) {
            Ok(compiled) => compiled,
            Err(error) => {
                let detail = error.detail().unwrap_or("it is not complete").to_owned();
                let problem = entry.tree.spot.problem("bad-expression", format!("this is no expression: {detail}"));
                self.problem(problem.hint("for example: row.SFYX != '0'"));
                return None;
            }
        };
        let mut names: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
        names.sort_unstable();
        for name in names {
            let (head, member) = name.split_once('.').map_or((name.as_str(), None), |(head, rest)| (head, Some(rest)));
            let column = member.map(|member| member.split('.').next().unwrap_or(member));
            match (head, column) {
                ("row", Some(column)) => needs.push(Need::Member("row", SourcePath::column(column, 0))),
                ("up", Some(column)) => needs.push(Need::Member("up", SourcePath::column(column, 1))),
                ("root", Some(column)) => needs.push(Need::Member("root", SourcePath::top(column))),
                _ if with.contains_key(head) || ENVIRONMENT.globals().any(|(global, _)| global == head) => {}
                _ => {
                    let message = format!("the expression knows no `{name}`");
                    let problem = entry.tree.spot.problem("bad-expression", message);
                    self.problem(problem.hint(
                        "columns are `row.NAME`, `up.NAME`, `root.NAME`; others are bound by `with = { name = \"OBX-11\" }`",
                    ));
                }
            }
        }
        Some(Expression { compiled, needs })
    }
}
