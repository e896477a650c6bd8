use connector_formats::xml::parse;

use super::*;

#[test]
fn names_and_actions_are_what_services_use() {
    assert!(is_name("GetReport_1") && is_name("查询") && !is_name("a b") && !is_name("") && !is_name("a><b"));
    assert_eq!(usual_action("http://tempuri.org/", "Get"), "http://tempuri.org/Get");
    assert_eq!(usual_action("http://ws.example.com", "Get"), "http://ws.example.com/Get");
    assert_eq!(usual_action("urn:lab:", "Get"), "urn:lab:Get");
}

#[test]
fn operations_are_well_formed_whatever_the_namespace() {
    for qualified in [true, false] {
        let (start, end) = operation_element("urn:a\"b<&", "Get", qualified);
        assert!(parse(&format!("{start}{end}"), &XmlRules::default()).is_ok(), "{start}{end}");
    }
}
