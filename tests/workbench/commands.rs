//! discover, its first mapping, preview, init and mapping test.

use super::site::Site;

const SOURCE: [&str; 5] = ["discover", "-c", "hisync.toml", "--source", "peis"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SOURCE[..], more].concat()
}

fn has_line(text: &str, sign: char, part: &str) -> bool {
    text.lines().any(|line| line.starts_with(sign) && line.contains(part))
}

#[test]
fn a_source_without_streams_can_be_looked_around_in() {
    let site = Site::new();
    let listed = site.run(&with(&[]));
    insta::assert_snapshot!("discover", listed.out);
    assert_eq!((listed.code, listed.err.as_str()), (Some(0), ""));
    let one = site.run(&with(&["V_TJ_BG"]));
    insta::assert_snapshot!("discover_view", one.out);
    for personal in ["张试一", "0301170001", "999999198806010019", "1988-06-01"] {
        assert!(!one.out.contains(personal), "{personal} is shown");
        assert!(site.run(&with(&["V_TJ_BG", "--show-personal"])).out.contains(personal), "{personal} was asked for");
        assert!(!site.run(&with(&["V_TJ_BG", "--json"])).out.contains(personal), "{personal} is in the JSON");
    }
    let missing = site.run(&with(&["V_TJ_BGG"]));
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.err.contains("error (missing)") && missing.err.contains("did you mean \"V_TJ_BG\"?"),
        "{}",
        missing.err
    );
    let unknown = site.run(&["discover", "-c", "hisync.toml", "--source", "lis"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("the sources: peis"), "{}", unknown.err);
}

/// From a source to records, as the guide tells it.
#[test]
fn a_first_mapping_is_filled_in_checked_previewed_and_kept_by_a_case() {
    let site = Site::new();
    let suggested = with(&["V_TJ_BG", "--suggest", "--child", "items=V_TJ_MX", "--out", "mappings/ours"]);
    let written = site.run(&suggested);
    assert_eq!(written.code, Some(0), "{}", written.err);
    assert!(written.err.contains("ExamReport needs `report_kind`"), "{}", written.err);
    assert_eq!(site.run(&suggested).code, Some(2), "nothing is overwritten");
    site.configure(
        "[[sources]]\nid = \"peis\"\nconnector = \"sqlite\"\nsettings = { path = \"peis.db\" }\n\
         [[sources.streams]]\nid = \"reports\"\nentity = \"exam_report\"\nmode = \"incremental\"\n\
         schedule = \"0 0 3 * * *\"\nmapping = \"mappings/ours/exam_report.toml\"\n\
         fetch = { from = \"V_TJ_BG\", key = [\"TJBH\"], watermark = { column = \"GXSJ\", type = \"timestamp\" } }\n\
         children = [{ name = \"items\", from = \"V_TJ_MX\", key = [\"TJBH\"], order_by = [\"XMDM\"] }]\n",
    );
    let open = site.run(&["check", "-c", "hisync.toml", "--offline"]);
    assert_eq!(open.code, Some(2));
    assert!(open.err.contains("report_kind") && !open.err.contains("2 problems"), "{}", open.err);

    let mapping = site.read("mappings/ours/exam_report.toml").replace("# report_kind =", "report_kind =");
    site.write("mappings/ours/exam_report.toml", &mapping);
    let head = "local_code,local_name,standard_code,standard_name\n";
    site.write("mappings/ours/codes/sex.csv", &format!("{head}1,男,male,\n2,女,female,\n7,,,\n"));
    site.write("mappings/ours/codes/state.csv", &format!("{head}1,已审核,final,\n"));
    assert_eq!(site.run(&["check", "-c", "hisync.toml", "--offline"]).code, Some(0));

    let preview = ["preview", "-c", "hisync.toml", "--stream", "peis/reports"];
    let shown = site.run(&[&preview[..], &["--show-personal"]].concat());
    assert_eq!(shown.code, Some(1), "one has an unknown code: {}", shown.err);
    insta::assert_snapshot!("preview", shown.out);
    let masked = site.run(&preview);
    assert!(!masked.out.contains("张试一") && !masked.out.contains("0301170001"), "{}", masked.out);
    let json: serde_json::Value = serde_json::from_str(&site.run(&[&preview[..], &["--json"]].concat()).out).unwrap();
    let number = &json[0]["outcomes"][0]["lines"].as_array().unwrap().iter();
    let number = number.clone().find(|line| line["path"] == "visit.exam_no").unwrap();
    assert_eq!(number["from"], "TJBH");
    let line = mapping.lines().position(|line| line.starts_with("exam_no =")).unwrap() + 1;
    assert_eq!(number["line"], format!("mappings/ours/exam_report.toml:{line}"));

    // A case that is kept: what a record becomes today is what it must become tomorrow.
    let record = r#"{ "TJBH": "1", "DAH": "D", "XM": "张试一", "XB": "1", "CSRQ": "1988-06-01", "SFZH": null, "BGZT": "1",
        "BGSJ": "2026-11-20 16:05:33", "TJRQ": "2026-11-18",
        "items": [{ "ZHBM": "12", "ZHMC": "肝功能", "XMDM": "0101", "XMMC": "谷丙转氨酶", "JG": "23.0", "DW": "U/L", "CKFW": "9-50", "TS": "" }] }"#;
    site.write("mappings/ours/cases/exam_report/input-first.json", record);
    let test = |more: &[&str]| site.run(&[&["mapping", "test"], more].concat());
    assert_eq!(test(&[]).code, Some(1), "nobody has said yet what is expected");
    let accepted = test(&["--accept"]);
    assert_eq!(accepted.code, Some(0), "{}", accepted.err);
    assert!(has_line(&accepted.out, '+', "\"name\": \"张试一\""), "what is accepted is shown: {}", accepted.out);
    assert_eq!(test(&[]).code, Some(0));
    site.write("mappings/ours/codes/sex.csv", &format!("{head}1,男,female,\n2,女,male,\n"));
    let differs = test(&[]);
    assert_eq!(differs.code, Some(1));
    let shown = has_line(&differs.out, '-', "\"sex\": \"male\"") && has_line(&differs.out, '+', "\"sex\": \"female\"");
    assert!(shown, "{}", differs.out);
    let json: serde_json::Value = serde_json::from_str(&test(&["--json"]).out).unwrap();
    assert_eq!(json["cases"][0]["verdict"], "differs");
    site.write("mappings/ours/exam_report.toml", &mapping.replace("codes = \"sex\"", "codes = \"sexx\""));
    let broken = test(&[]);
    assert_eq!(broken.code, Some(2));
    assert!(broken.err.contains("did you mean `sex`?"), "{}", broken.err);
    assert_eq!(test(&["no-such-folder"]).code, Some(2));
}

#[test]
fn a_new_folder_is_sound_for_every_connector_and_never_overwritten() {
    let site = Site::new();
    let connectors: serde_json::Value = serde_json::from_str(&site.run(&["connectors", "--json"]).out).unwrap();
    for kind in connectors.as_array().unwrap() {
        let name = kind["name"].as_str().unwrap();
        let made = site.run(&["init", name, "--connector", name]);
        assert_eq!(made.code, Some(0), "{}", made.err);
        let config = format!("{name}/hisync.toml");
        let checked = site.run(&["check", "-c", &config, "--offline"]);
        assert_eq!(checked.code, Some(0), "{name}: {}", checked.err);
        let tested = site.run(&["mapping", "test", &format!("{name}/mappings")]);
        assert_eq!(tested.code, Some(0), "{name}: {}{}", tested.out, tested.err);
        let before = site.read(&config);
        let again = site.run(&["init", name, "--connector", name]);
        assert_eq!((again.code, site.read(&config)), (Some(2), before), "{}", again.err);
    }
    let unknown = site.run(&["init", "x", "--connector", "sqlit"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("did you mean sqlite?"), "{}", unknown.err);
    assert!(!site.path("x").exists(), "nothing is made for a connector that does not exist");
}
