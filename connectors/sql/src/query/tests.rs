use super::*;
use crate::{FilterValue, Plan, TableStream};

struct Sqlite;

impl Dialect for Sqlite {
    fn limit_clause(&self) -> LimitClause {
        LimitClause::Limit
    }

    fn max_parameters(&self) -> usize {
        999
    }

    fn blank_watermarks(&self, _: WatermarkType) -> bool {
        true
    }
}

/// As SQL Server will be: brackets, numbered parameters, TOP, and a cast that keeps ticks equal.
struct SqlServer;

impl Dialect for SqlServer {
    fn quote(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn placeholder(&self, at: usize) -> String {
        format!("@P{at}")
    }

    fn limit_clause(&self) -> LimitClause {
        LimitClause::Top
    }

    fn max_parameters(&self) -> usize {
        2000
    }

    fn watermark_parameter(&self, kind: WatermarkType, placeholder: String) -> String {
        match kind {
            WatermarkType::Timestamp => format!("CAST({placeholder} AS datetime)"),
            _ => placeholder,
        }
    }
}

struct Oracle(LimitClause);

impl Dialect for Oracle {
    fn placeholder(&self, at: usize) -> String {
        format!(":{at}")
    }

    fn limit_clause(&self) -> LimitClause {
        self.0
    }

    fn max_parameters(&self) -> usize {
        1000
    }

    fn ascending(&self, quoted: &str) -> String {
        format!("{quoted} NULLS FIRST")
    }
}

const STAMP: Term<'static> = Term { name: "GXSJ", kind: Some(WatermarkType::Timestamp), text: false };
const KEY: Term<'static> = Term { name: "TJBH", kind: None, text: false };

/// A page of changes after a cursor: conditions, order and limit as the poller puts them together.
fn page<'a>(dialect: &'a dyn Dialect, conditions: Vec<Condition<'a>>) -> Composer<'a> {
    let mut query = Composer::new(dialect, Select::Columns(&[]), "dbo.V_体检", &[]);
    query.conditions = conditions;
    query.order = vec!["GXSJ", "TJBH"];
    query.limit = Some(11);
    query
}

#[track_caller]
fn check(query: &Composer<'_>, sql: &str, params: &[Value]) {
    let composed = query.compose();
    assert_eq!(composed.sql, sql);
    assert_eq!(composed.params, params);
}

#[test]
fn a_first_page_starts_at_the_bound_and_includes_what_has_no_watermark() {
    let start = || vec![Condition::AtLeast { terms: &[STAMP], values: vec![Value::from("2024")], blanks: true }];
    check(
        &page(&Sqlite, start()),
        "SELECT * FROM \"dbo\".\"V_体检\" WHERE (\"GXSJ\" IS NULL OR \"GXSJ\" = '' OR \"GXSJ\" >= ?) ORDER BY \
         \"GXSJ\", \"TJBH\" LIMIT 11",
        &[Value::from("2024")],
    );
    check(
        &page(&SqlServer, start()),
        "SELECT TOP 11 * FROM [dbo].[V_体检] WHERE ([GXSJ] IS NULL OR [GXSJ] >= CAST(@P1 AS datetime)) \
         ORDER BY [GXSJ], [TJBH]",
        &[Value::from("2024")],
    );
}

#[test]
fn a_later_page_compares_watermark_and_key_as_a_chain() {
    let at = [Value::from("2024"), Value::from("1")];
    let terms = [STAMP, KEY];
    let params = [Value::from("2024"), Value::from("2024"), Value::from("2024"), Value::from("1")];
    check(
        &page(&Sqlite, vec![Condition::After(&terms, &at)]),
        "SELECT * FROM \"dbo\".\"V_体检\" WHERE \"GXSJ\" >= ? AND (\"GXSJ\" > ? OR \"GXSJ\" = ? AND \"TJBH\" > \
         ?) ORDER BY \"GXSJ\", \"TJBH\" LIMIT 11",
        &params,
    );
    check(
        &page(&SqlServer, vec![Condition::After(&terms, &at)]),
        "SELECT TOP 11 * FROM [dbo].[V_体检] WHERE [GXSJ] >= CAST(@P1 AS datetime) AND ([GXSJ] > CAST(@P2 AS datetime) \
         OR [GXSJ] = CAST(@P3 AS datetime) AND [TJBH] > @P4) ORDER BY [GXSJ], [TJBH]",
        &params,
    );
}

#[test]
fn a_start_in_two_columns_includes_what_lacks_one_of_them() {
    let clock = Term::plain("GXSJ2");
    let terms = [STAMP, clock];
    let start = |values: &[&str]| Condition::AtLeast {
        terms: &terms,
        values: values.iter().copied().map(Value::from).collect(),
        blanks: true,
    };
    check(
        &page(&SqlServer, vec![start(&["d", "t"])]),
        "SELECT TOP 11 * FROM [dbo].[V_体检] WHERE ([GXSJ] IS NULL OR [GXSJ2] IS NULL OR [GXSJ] >= CAST(@P1 AS \
         datetime) AND ([GXSJ] > CAST(@P2 AS datetime) OR [GXSJ2] >= @P3)) ORDER BY [GXSJ], [TJBH]",
        &[Value::from("d"), Value::from("d"), Value::from("t")],
    );
    check(
        &page(&Sqlite, vec![start(&["d"])]),
        "SELECT * FROM \"dbo\".\"V_体检\" WHERE (\"GXSJ\" IS NULL OR \"GXSJ\" = '' OR \"GXSJ2\" IS NULL OR \
         \"GXSJ\" >= ?) ORDER BY \"GXSJ\", \"TJBH\" LIMIT 11",
        &[Value::from("d")],
    );
    // What is known to be text may be blank.
    let text = [Term { text: true, ..clock }];
    check(
        &page(&Oracle(LimitClause::RowNum), vec![Condition::Blank(&text)]),
        "SELECT * FROM (SELECT * FROM \"dbo\".\"V_体检\" WHERE (\"GXSJ2\" IS NULL OR \"GXSJ2\" = '') ORDER BY \
         \"GXSJ\" NULLS FIRST, \"TJBH\" NULLS FIRST) WHERE ROWNUM <= 11",
        &[],
    );
    let at = [Value::from("d"), Value::from("t")];
    check(
        &page(&Sqlite, vec![Condition::Before(&terms, &at)]),
        "SELECT * FROM \"dbo\".\"V_体检\" WHERE (\"GXSJ\" < ? OR \"GXSJ\" = ? AND \"GXSJ2\" < ?) ORDER BY \
         \"GXSJ\", \"TJBH\" LIMIT 11",
        &[Value::from("d"), Value::from("d"), Value::from("t")],
    );
}

#[test]
fn nulls_come_first_and_are_equal_to_each_other() {
    let terms = [STAMP, KEY];
    let at = [Value::Null, Value::Null];
    check(
        &page(&Oracle(LimitClause::FetchFirst), vec![Condition::After(&terms, &at)]),
        "SELECT * FROM \"dbo\".\"V_体检\" WHERE (\"GXSJ\" IS NOT NULL OR \"GXSJ\" IS NULL AND \"TJBH\" IS NOT \
         NULL) ORDER BY \"GXSJ\" NULLS FIRST, \"TJBH\" NULLS FIRST FETCH FIRST 11 ROWS ONLY",
        &[],
    );
    let tuples = [vec![Value::from("1"), Value::Null]];
    let mut query = Composer::new(&SqlServer, Select::Repeated(&terms), "T", &[]);
    query.conditions.push(Condition::AnyOf(&terms, &tuples));
    check(
        &query,
        "SELECT [GXSJ], [TJBH], COUNT(*) FROM [T] WHERE ([GXSJ] = CAST(@P1 AS datetime) AND [TJBH] IS NULL) \
         GROUP BY [GXSJ], [TJBH] HAVING COUNT(*) > 1",
        &[Value::from("1")],
    );
}

#[test]
fn a_limit_by_row_number_wraps_the_ordered_query() {
    let mut query = page(&Oracle(LimitClause::RowNum), vec![]);
    query.order = vec!["K"];
    query.limit = Some(3);
    check(&query, r#"SELECT * FROM (SELECT * FROM "dbo"."V_体检" ORDER BY "K" NULLS FIRST) WHERE ROWNUM <= 3"#, &[]);
}

#[test]
fn filters_are_bound() {
    let filters = [
        Filter { column: "ZT".into(), equals: Some(FilterValue::Integer(2)), any_of: None },
        Filter { column: "LX".into(), equals: None, any_of: Some(vec![FilterValue::Text("'; --".into())]) },
    ];
    check(
        &Composer::new(&SqlServer, Select::Count, "T", &filters),
        "SELECT COUNT(*) FROM [T] WHERE [ZT] IN (@P1) AND [LX] IN (@P2)",
        &[Value::Integer(2), Value::from("'; --")],
    );
}

#[test]
fn child_rows_are_bound_to_their_parents_and_read_what_binds_theirs() {
    let stream: TableStream = serde_json::from_value(serde_json::json!({
        "fetch": { "from": "TC", "key": ["TCDM"], "columns": ["TCMC"] },
        "children": [{
            "name": "groups", "from": "TC_ZH", "key": ["TC", "YQ"], "parent_key": ["TCDM", "YQDM"], "columns": ["MC"],
            "order_by": ["XH"], "children": [{ "name": "items", "from": "ZH_MX", "key": ["ZHDM"] }]
        }]
    }))
    .unwrap();
    let plan = Plan::new(stream, chrono_tz::UTC);
    assert_eq!(plan.columns, ["TCMC", "TCDM", "YQDM"]);
    let tuples = [vec![Value::from("1"), Value::from("a")], vec![Value::from("2"), Value::from("a")]];
    let query = plan.children[0].rows_of(&SqlServer, &tuples);
    assert_eq!(
        query.sql,
        "SELECT [MC], [TC], [YQ], [XH], [ZHDM] FROM [TC_ZH] \
         WHERE ([TC] = @P1 AND [YQ] = @P2 OR [TC] = @P3 AND [YQ] = @P4) \
         ORDER BY [XH]"
    );
    let query = plan.children[0].children[0].rows_of(&Sqlite, &[vec![Value::from("1")], vec![Value::from("2")]]);
    assert_eq!(query.sql, r#"SELECT * FROM "ZH_MX" WHERE "ZHDM" IN (?, ?)"#);
}
