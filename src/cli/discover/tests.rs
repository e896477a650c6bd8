use connector_api::{Column, Map};

use super::*;

fn table(name: &str, columns: &[&str], rows: &[&[&str]]) -> Discovered {
    let row = |row: &&[&str]| -> Map {
        columns.iter().zip(*row).map(|(name, value)| (std::sync::Arc::from(*name), Value::from(*value))).collect()
    };
    Discovered {
        name: name.to_owned(),
        kind: "view".to_owned(),
        columns: columns.iter().map(|name| Column { name: (*name).to_owned(), ..Column::default() }).collect(),
        rows: Some(rows.len() as u64),
        sample: rows.iter().map(row).collect(),
    }
}

fn reports() -> Discovered {
    table(
        "V_TJ_BG",
        &["TJBH", "DAH", "XM", "XB", "CSRQ", "SFZH", "SJH", "BGZT", "BGSJ", "DWMC", "GXSJ", "BZ1"],
        &[
            &[
                "0301170001",
                "D1",
                "张试一",
                "1",
                "1988-06-01",
                "999999198806010019",
                "15400000001",
                "1",
                "2026-11-20 16:05",
                "试点公司",
                "2026-11-20 16:05:00",
                "x",
            ],
            &[
                "0301170002",
                "D2",
                "赵试二",
                "2",
                "1970-01-01",
                "999999197001010025",
                "15400000002",
                "1",
                "1900-01-01 00:00",
                "试点公司",
                "2026-11-20 16:06:00",
                "y",
            ],
        ],
    )
}

fn results() -> Discovered {
    table(
        "V_TJ_MX",
        &["TJBH", "ZHBM", "ZHMC", "XMDM", "XMMC", "JG", "DW", "CKFW", "TS"],
        &[
            &["0301170001", "12", "肝功能", "0101", "谷丙转氨酶", "23.0", "U/L", "9-50", ""],
            &["0301170001", "12", "肝功能", "0102", "总胆红素", "25.1", "μmol/L", "0-23", "↑"],
        ],
    )
}

fn compiled(entity: EntityType, suggestion: suggest::Suggestion) -> Result<Mapping, Vec<String>> {
    let mut files: BTreeMap<PathBuf, String> =
        suggestion.tables.into_iter().map(|(name, text)| (PathBuf::from(name), text)).collect();
    files.insert("m.toml".into(), suggestion.mapping);
    Mapping::compile(Path::new("m.toml"), entity, &Memory(&files))
        .map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn a_suggested_report_names_all_but_what_only_a_person_knows() {
    let (head, items) = (reports(), results());
    assert_eq!(suggest::entity_of(&head), EntityType::ExamReport);
    let suggestion = suggest::suggest(EntityType::ExamReport, &head, &[("items".to_owned(), items)]);
    insta::assert_snapshot!("report", suggestion.mapping);
    assert_eq!(
        suggestion.tables["codes/sex.csv"], "local_code,local_name,standard_code,standard_name\n1,,,\n2,,,\n",
        "codes are listed and never guessed"
    );
    let problems = compiled(EntityType::ExamReport, suggestion).unwrap_err();
    assert_eq!(problems, ["ExamReport needs `report_kind`"]);
}

#[test]
fn what_is_doubtful_is_not_in_force() {
    let prices =
        table("TC", &["TCDM", "TCMC", "XB", "YJ", "ZHJ", "TYBZ"], &[&["1", "A", "男", "68050", "49800.50", "0"]]);
    let text = suggest::suggest(EntityType::ExamPackage, &prices, &[]).mapping;
    let line = |start: &str| text.lines().find(|line| line.contains(start)).unwrap_or_default().to_owned();
    assert!(line("original_price_minor").starts_with('#'), "whole numbers may be fen: {text}");
    assert!(line("sale_price_minor =").starts_with("sale_price_minor"), "fen have no fraction: {text}");
    assert!(line("enabled = {").starts_with('#'), "nobody can see what turns it off: {text}");
}

#[test]
fn a_flat_view_is_grouped() {
    let mut flat = results();
    let head = reports();
    flat.columns.extend(head.columns[1..].iter().cloned());
    for row in &mut flat.sample {
        head.sample[0].iter().skip(1).for_each(|(name, value)| row.push(name.clone(), value.clone()));
    }
    let suggestion = suggest::suggest(EntityType::ExamReport, &flat, &[]);
    assert!(suggestion.mapping.contains("group = true"), "{}", suggestion.mapping);
    assert!(suggestion.mapping.contains("[fields.groups]\neach = \"rows\""), "{}", suggestion.mapping);
    assert_eq!(compiled(EntityType::ExamReport, suggestion).unwrap_err(), ["ExamReport needs `report_kind`"]);
}

#[test]
fn people_are_masked_by_name_and_by_look_and_the_catalogue_is_not() {
    let clear = |column: &str, text: &str| shown(column, Some(&Value::from(text)), false) == text;
    for (column, text) in [
        ("DAH", "D1"),
        ("XM", "张试一"),
        ("TJBH", "0301170001"),
        ("QWERTY", "张试一"),
        ("XMMC", "15400000001"),
        ("备注", "999999198806010019"),
    ] {
        assert!(!clear(column, text), "{column}");
    }
    for (column, text) in [("XMMC", "谷丙转氨酶"), ("DW", "mmol/L"), ("GXSJ", "2026-11-20 16:05:00"), ("QWERTY", "12")]
    {
        assert!(clear(column, text), "{column}");
    }
}

#[test]
fn names_with_odd_characters_and_codes_with_commas_stay_readable() {
    let odd = table("V", &["体检号", "姓名", "性别", "a.b c_XM"], &[&["1", "张试一", "男,1", "x"]]);
    let suggestion = suggest::suggest(EntityType::ExamReport, &odd, &[]);
    assert!(suggestion.tables["codes/sex.csv"].contains("\"男,1\",,,"), "{:?}", suggestion.tables);
    assert!(suggestion.mapping.contains(r#"# name = '"a.b c_XM"'"#), "{}", suggestion.mapping);
}
