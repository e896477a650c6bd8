//! T-SQL to SQLite, as far as clients in tests need it.
//!
//! Understood: one-table SELECTs with `TOP`, `[names]`, `N'…'`, `@P1`, `CAST`, `dbo.`, hints such as
//! `WITH (NOLOCK)`, `GETDATE` and its kin, `CONVERT`, `NCHAR`, `ISNULL`, `LEN`, `@@VERSION`; transactions; `SET` and
//! `USE`, which do nothing; `EXEC` of procedures that a test made.

use crate::types::Type;

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A bare word or number.
    Word(String),
    /// `[a name]` or `"a name"`.
    Name(String),
    /// `'text'`, its quotes taken away.
    Text(String),
    /// `@parameter` or `@@global`.
    Variable(String),
    /// Anything else.
    Sign(char),
}

impl Token {
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own.eq_ignore_ascii_case(word))
    }

    fn sign(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Cuts a batch into the tokens of its statements.
pub(crate) fn statements(batch: &str) -> Vec<Vec<Token>> {
    let mut found: Vec<Vec<Token>> = vec![Vec::new()];
    for token in tokens(batch) {
        let begins = ["SELECT", "SET", "BEGIN", "COMMIT", "ROLLBACK", "IF", "USE", "EXEC", "EXECUTE", "WAITFOR"];
        let current = found.len() - 1;
        // Batches needn't have semicolons; a SELECT inside of parentheses begins nothing.
        let depth: i32 = found[current].iter().map(|t| i32::from(t.sign('(')) - i32::from(t.sign(')'))).sum();
        let starts = depth == 0
            && begins.iter().any(|word| token.is(word))
            && !found[current].first().is_some_and(|first| first.is("IF") && found[current].len() < 6);
        if token.sign(';') || (starts && !found[current].is_empty()) {
            found.push(Vec::new());
        }
        if !token.sign(';') {
            let current = found.len() - 1;
            found[current].push(token);
        }
    }
    found.retain(|statement| !statement.is_empty());
    found
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    let until = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>, end: char| {
        let mut inner = String::new();
        while let Some(c) = rest.next() {
            if c != end {
                inner.push(c);
            } else if rest.peek() == Some(&end) {
                inner.push(end);
                rest.next();
            } else {
                break;
            }
        }
        inner
    };
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '[' => tokens.push(Token::Name(until(&mut rest, ']'))),
            '"' => tokens.push(Token::Name(until(&mut rest, '"'))),
            '\'' => tokens.push(Token::Text(until(&mut rest, '\''))),
            'N' | 'n' if rest.peek() == Some(&'\'') => {
                rest.next();
                tokens.push(Token::Text(until(&mut rest, '\'')));
            }
            '-' if rest.peek() == Some(&'-') => while rest.next().is_some_and(|c| c != '\n') {},
            '@' => {
                let mut name = String::from("@");
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | '@' | '#')) {
                    name.push(c);
                }
                tokens.push(Token::Variable(name));
            }
            c if c.is_alphanumeric() || c == '_' || c == '#' => {
                let number = c.is_ascii_digit();
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || *c == '_' || (number && *c == '.')) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    tokens
}

/// A statement of SQLite, and the types that its columns are cast to.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) sql: String,
    /// The table after FROM.
    pub(crate) table: Option<String>,
    /// For each item of the select list: its type and name where the statement says so.
    pub(crate) items: Vec<(Option<Type>, Option<String>)>,
}

/// What a translation needs to know of the server.
pub(crate) struct Context<'a> {
    pub(crate) version: &'a str,
    pub(crate) database: &'a str,
    /// The declared type of a table's column.
    pub(crate) column_type: &'a dyn Fn(&str, &str) -> Option<Type>,
}

/// Translates a SELECT.
pub(crate) fn translate(tokens: &[Token], context: &Context<'_>) -> Translated {
    let mut tokens = tokens.to_vec();
    let mut limit = None;
    if tokens.get(1).is_some_and(|token| token.is("TOP")) {
        let taken = if tokens.get(2).is_some_and(|token| token.sign('(')) { 1..5 } else { 1..3 };
        limit = tokens.drain(taken).find_map(|token| match token {
            Token::Word(word) => word.parse::<u64>().ok(),
            _ => None,
        });
    }
    drop_hints(&mut tokens);
    let table = table(&tokens);
    let items = items(&tokens);
    let mut writer = Writer { context, table: table.clone(), sql: String::new() };
    writer.write(&tokens);
    let mut sql = writer.sql;
    if let Some(limit) = limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    Translated { sql, table, items }
}

/// `WITH (NOLOCK)`, `COLLATE x` and `dbo.` mean nothing here.
fn drop_hints(tokens: &mut Vec<Token>) {
    let mut at = 0;
    while at < tokens.len() {
        let next = |ahead: usize| tokens.get(at + ahead);
        if tokens[at].is("WITH") && next(1).is_some_and(|token| token.sign('(')) {
            let end = closing(tokens, at + 1);
            tokens.drain(at..=end.min(tokens.len() - 1));
        } else if tokens[at].is("COLLATE") {
            tokens.drain(at..(at + 2).min(tokens.len()));
        } else if tokens[at].name().is_some_and(|name| name.eq_ignore_ascii_case("dbo"))
            && next(1).is_some_and(|token| token.sign('.'))
        {
            tokens.drain(at..at + 2);
        } else {
            at += 1;
        }
    }
}

fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token.sign('(')) - i32::from(token.sign(')'));
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The last part of the name after FROM; catalogues are tables with an underscore.
fn table(tokens: &[Token]) -> Option<String> {
    let from = tokens.iter().position(|token| token.is("FROM"))?;
    let first = tokens.get(from + 1)?.name()?;
    match (tokens.get(from + 2), tokens.get(from + 3)) {
        (Some(dot), Some(second)) if dot.sign('.') => Some(format!("{first}_{}", second.name()?)),
        _ => Some(first.to_owned()),
    }
}

fn split(tokens: &[Token], sign: char) -> Vec<&[Token]> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, token) in tokens.iter().enumerate() {
        depth += i32::from(token.sign('(')) - i32::from(token.sign(')'));
        if depth == 0 && token.sign(sign) {
            parts.push(&tokens[start..at]);
            start = at + 1;
        }
    }
    parts.push(&tokens[start..]);
    parts
}

fn items(tokens: &[Token]) -> Vec<(Option<Type>, Option<String>)> {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        depth += i32::from(token.sign('(')) - i32::from(token.sign(')'));
        depth == 0 && token.is("FROM")
    });
    let list = &tokens[1..end.unwrap_or(tokens.len()).max(1)];
    if list.iter().any(|token| token.sign('*')) && !list.iter().any(|token| token.sign('(')) {
        return Vec::new();
    }
    let item = |item: &[Token]| {
        let cast = item.first().is_some_and(|token| token.is("CAST"));
        let kind = cast.then(|| cast_parts(item, 0).and_then(|(_, kind, _)| kind)).flatten();
        let alias = item.iter().rposition(|token| token.is("AS")).filter(|at| at + 2 == item.len());
        let name = match alias {
            Some(at) => item[at + 1].name().map(str::to_owned),
            None if item.iter().any(|token| token.sign('(')) => Some(String::new()),
            None => item.last().and_then(Token::name).map(str::to_owned),
        };
        (kind, name)
    };
    split(list, ',').into_iter().map(item).collect()
}

/// What stands in a CAST at this position, its type, and where its parenthesis closes.
fn cast_parts(tokens: &[Token], at: usize) -> Option<(&[Token], Option<Type>, usize)> {
    let end = closing(tokens, at + 1);
    let inner = tokens.get(at + 2..end)?;
    let mut depth = 0;
    let mut last = None;
    for (at, token) in inner.iter().enumerate() {
        depth += i32::from(token.sign('(')) - i32::from(token.sign(')'));
        if depth == 0 && token.is("AS") {
            last = Some(at);
        }
    }
    let declared: String = inner[last? + 1..]
        .iter()
        .map(|token| match token {
            Token::Word(text) | Token::Name(text) => text.clone(),
            Token::Sign(sign) => sign.to_string(),
            _ => String::new(),
        })
        .collect();
    Some((&inner[..last?], Type::parse(&declared), end))
}

struct Writer<'a> {
    context: &'a Context<'a>,
    table: Option<String>,
    sql: String,
}

impl Writer<'_> {
    fn put(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    fn write(&mut self, tokens: &[Token]) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.token(tokens, at);
        }
    }

    /// Writes the token at this position, or more; answers what comes next.
    fn token(&mut self, tokens: &[Token], at: usize) -> usize {
        let called = tokens.get(at + 1).is_some_and(|token| token.sign('('));
        match &tokens[at] {
            Token::Word(word) if called && word.eq_ignore_ascii_case("CAST") => {
                let Some((inner, kind, end)) = cast_parts(tokens, at) else { return self.plain(&tokens[at], at) };
                let from = match inner {
                    [column] => self.type_of(column),
                    [_, dot, column] if dot.sign('.') => self.type_of(column),
                    _ => None,
                };
                self.put(" tds_cast(");
                self.write(inner);
                self.put(&format!(", '{}', '{}')", spelled(from.as_ref()), spelled(kind.as_ref())));
                end + 1
            }
            Token::Word(word) if called && word.eq_ignore_ascii_case("NCHAR") => self.characters(tokens, at),
            Token::Word(word) if called && word.eq_ignore_ascii_case("CONVERT") => self.convert(tokens, at),
            // Text is joined with the sign that adds numbers.
            Token::Sign('+')
                if [at.wrapping_sub(1), at + 1].iter().any(|at| matches!(tokens.get(*at), Some(Token::Text(_)))) =>
            {
                self.put(" ||");
                at + 1
            }
            Token::Word(word) if called => {
                let replaced = match word.to_ascii_uppercase().as_str() {
                    "GETDATE" | "SYSDATETIME" => "tds_now",
                    "GETUTCDATE" | "SYSUTCDATETIME" => "tds_utc",
                    "ISNULL" => "ifnull",
                    "LEN" => "length",
                    "COUNT_BIG" => "count",
                    "DB_NAME" => {
                        self.text(self.context.database);
                        return closing(tokens, at + 1) + 1;
                    }
                    "SCHEMA_NAME" => {
                        self.text("dbo");
                        return closing(tokens, at + 1) + 1;
                    }
                    "SERVERPROPERTY" => {
                        self.text(self.context.version);
                        return closing(tokens, at + 1) + 1;
                    }
                    "MIN_ACTIVE_ROWVERSION" => "tds_min_active",
                    _ => word,
                };
                self.put(&format!(" {replaced}"));
                at + 1
            }
            Token::Word(word) | Token::Name(word)
                if ["INFORMATION_SCHEMA", "sys"].iter().any(|schema| word.eq_ignore_ascii_case(schema))
                    && tokens.get(at + 1).is_some_and(|token| token.sign('.')) =>
            {
                let second = tokens.get(at + 2).and_then(Token::name).unwrap_or_default();
                self.put(&format!(" [{word}_{second}]"));
                at + 3
            }
            token => self.plain(token, at),
        }
    }

    /// `NCHAR(55362) + NCHAR(57271)`: UTF-16 units, one after the other.
    fn characters(&mut self, tokens: &[Token], mut at: usize) -> usize {
        let mut units = Vec::new();
        while tokens.get(at).is_some_and(|token| token.is("NCHAR")) {
            let unit = tokens.get(at + 2).and_then(Token::name).and_then(|unit| unit.parse::<u16>().ok());
            units.extend(unit);
            at = closing(tokens, at + 1) + 1;
            if tokens.get(at).is_some_and(|token| token.sign('+')) && tokens.get(at + 1).is_some_and(|t| t.is("NCHAR"))
            {
                at += 1;
            }
        }
        self.text(&String::from_utf16_lossy(&units));
        at
    }

    /// `CONVERT(varchar(19), GETDATE(), 120)`: the beginning of a text; times are such texts already.
    fn convert(&mut self, tokens: &[Token], at: usize) -> usize {
        let end = closing(tokens, at + 1);
        let parts = split(tokens.get(at + 2..end).unwrap_or_default(), ',');
        let width = parts.first().and_then(|kind| kind.get(2)).and_then(Token::name).unwrap_or("8000").to_owned();
        self.put(" substr(");
        self.write(parts.get(1).copied().unwrap_or_default());
        self.put(&format!(", 1, {width})"));
        end + 1
    }

    fn plain(&mut self, token: &Token, at: usize) -> usize {
        match token {
            Token::Word(word) => match word.strip_prefix("0x") {
                Some(bytes) => self.put(&format!(" x'{bytes}'")),
                None => self.put(&format!(" {word}")),
            },
            Token::Name(name) => self.put(&format!(" [{name}]")),
            Token::Text(text) => self.text(text),
            Token::Variable(name) if name.eq_ignore_ascii_case("@@VERSION") => self.text(self.context.version),
            Token::Variable(name) if name.starts_with("@@") => self.put(" 0"),
            Token::Variable(name) => self.put(&format!(" {name}")),
            // Two signs may belong together (`<=`), so nothing stands between them.
            Token::Sign(sign) => self.sql.push(*sign),
        }
        at + 1
    }

    fn text(&mut self, text: &str) {
        self.put(&format!(" '{}'", text.replace('\'', "''")));
    }

    fn type_of(&self, column: &Token) -> Option<Type> {
        (self.context.column_type)(self.table.as_deref()?, column.name()?)
    }
}

/// A type as it is declared.
fn spelled(kind: Option<&Type>) -> String {
    let length = |length: &Option<u16>| length.map_or("max".to_owned(), |length| length.to_string());
    match kind {
        None => String::new(),
        Some(kind) => match kind {
            Type::Bit => "bit".to_owned(),
            Type::Int(bytes) => {
                ["tinyint", "smallint", "int", "bigint"][bytes.trailing_zeros().min(3) as usize].to_owned()
            }
            Type::Float(bytes) => if *bytes == 4 { "real" } else { "float" }.to_owned(),
            Type::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
            Type::Money(bytes) => if *bytes == 4 { "smallmoney" } else { "money" }.to_owned(),
            Type::DateTime(bytes) => if *bytes == 4 { "smalldatetime" } else { "datetime" }.to_owned(),
            Type::Date => "date".to_owned(),
            Type::Time(scale) => format!("time({scale})"),
            Type::DateTime2(scale) => format!("datetime2({scale})"),
            Type::DateTimeOffset(scale) => format!("datetimeoffset({scale})"),
            Type::Guid => "uniqueidentifier".to_owned(),
            Type::Char(width) => format!("char({width})"),
            Type::VarChar(width) => format!("varchar({})", length(width)),
            Type::NChar(width) => format!("nchar({width})"),
            Type::NVarChar(width) => format!("nvarchar({})", length(width)),
            Type::Binary(width) => format!("binary({width})"),
            Type::VarBinary(width) => format!("varbinary({})", length(width)),
            Type::Text => "text".to_owned(),
            Type::NText => "ntext".to_owned(),
            Type::Image => "image".to_owned(),
            Type::Xml => "xml".to_owned(),
        },
    }
}
