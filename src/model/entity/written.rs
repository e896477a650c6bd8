//! The entities that are written most, with their members in canonical order.

use crate::model::canonical::{Canonical, Writer, leaves, members};

use super::*;
use crate::model::finding::Severity;

/// Hands the objects of which a report and a critical value consist to a macro, their members in canonical order:
/// `name !` is always there, `name ?` may be missing.
macro_rules! report_objects {
    ($to:ident) => {
        $to! {
            ExamReport {
                attachments ?, concluded_by ?, conclusions ?, envelope !, examinee !, groups !, issued_at ?,
                issued_at_raw ?, report_kind !, report_no ?, reviewed_by ?, status !, status_raw ?, visit !,
            }
            Examinee {
                birth_date ?, birth_date_raw ?, examinee_key !, id_checksum_ok ?, id_number ?, id_type ?,
                marital_status ?, marital_status_raw ?, name !, phone ?, sex !, sex_raw ?,
            }
            ExamVisit {
                exam_date ?, exam_date_raw ?, exam_no !, order_no ?, ordered_groups ?, org_code ?, org_name ?,
                package_code ?, previous_exam_no ?, registered_at ?, registered_at_raw ?, stated_age ?, substitute ?,
                visit_key !, visit_state ?, visit_state_raw ?,
            }
            OrderedGroup { group_code !, origin ?, state !, state_raw ? }
            ResultGroup {
                department ?, group_code !, group_name !, items !, performed_at ?, performed_at_raw ?, performer ?,
                reviewer ?, specimen_no ?, status ?, status_raw ?, summary ?,
            }
            ResultItem {
                absent_reason ?, comparator ?, device ?, flag_derived ?, flag_source ?, flag_source_raw ?, instance !,
                is_critical !, item_code !, item_name !, method ?, performed_at ?, performed_at_raw ?, reference ?,
                reference_raw ?, specimen_no ?, standard_code ?, status ?, status_raw ?, unit_raw ?, unit_ucum ?,
                value_high ?, value_kind !, value_low ?, value_num ?, value_raw ?,
            }
            ReferenceRange {
                age_high ?, age_low ?, high ?, high_inclusive ?, low ?, low_inclusive ?, sex ?, text ?,
            }
            Conclusion { advice ?, code ?, kind !, seq !, severity ?, source_items ?, text ! }
            Attachment { digest !, kind !, media_type !, page_count ?, size !, source_ref ? }
            CriticalValue {
                department ?, envelope !, exam_no ?, examinee_key !, flag_source ?, flag_source_raw ?, group_code ?,
                group_name ?, instance ?, item_code !, item_name ?, observed_at ?, observed_at_raw ?, reference_raw ?,
                report_key ?, specimen_no ?, unit_raw ?, value_raw ?, visit_key ?,
            }
        }
    };
}
pub(crate) use report_objects;

report_objects!(members);

members! {
    Envelope {
        business_key !, campus_id !, entity_type !, hospital_id !, issues !, lifecycle !, manifest !, provenance !,
        source_system !,
    }
    Provenance { adapter !, charset ?, source_ref ! }
    Manifest { duplicates !, excluded !, mapped !, rows_read ! }
    Excluded { count !, reason ! }
    Finding { code !, message !, path !, severity !, source_value ? }
}

leaves!(
    Lifecycle,
    Severity,
    ReportKind,
    ReportStatus,
    Sex,
    ApplicableSex,
    MaritalStatus,
    IdType,
    VisitState,
    OrderOrigin,
    OrderState,
    ResultStatus,
    ValueKind,
    Comparator,
    AbsentReason,
    AbnormalFlag,
    ConclusionKind,
    AttachmentKind,
);

impl Canonical for DecimalText {
    fn write(&self, writer: &mut Writer) -> Result<(), serde_json::Error> {
        self.0.write(writer)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, FixedOffset, NaiveDate};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::canonical::{to_vec, written};

    /// A report in which every member is there.
    fn whole() -> Value {
        let item = json!({
            "item_code": "0101", "item_name": "白细胞\"\\\n", "standard_code": "wbc", "instance": "1",
            "value_raw": "＜5.30", "value_kind": "comparator", "value_num": "5.30", "comparator": "<",
            "value_low": "1", "value_high": "80", "absent_reason": "given_up", "unit_raw": "10^9/L",
            "unit_ucum": "10*9/L", "reference_raw": "3.5-9.5",
            "reference": {"sex": "male", "age_low": 18, "age_high": 60, "low": "3.5", "low_inclusive": true,
                "high": "9.5", "high_inclusive": false, "text": "阴性"},
            "flag_source_raw": "↑", "flag_source": "critical_high", "flag_derived": "normal", "is_critical": true,
            "status": "corrected", "status_raw": "C", "performed_at": "2026-11-22T08:00:05+08:00",
            "performed_at_raw": "20261122080005", "specimen_no": "S1", "method": "m", "device": "d"
        });
        let envelope = json!({
            "hospital_id": "demo-001", "campus_id": "main", "source_system": "lab", "entity_type": "exam_report",
            "business_key": "main:lab:1", "lifecycle": "active",
            "provenance": {"source_ref": "ORU", "adapter": "mllp", "charset": "gb18030"},
            "issues": [{"code": "c", "severity": "warn", "path": "p", "message": "m", "source_value": "v"}],
            "manifest": {"rows_read": 3, "mapped": 1, "duplicates": 1, "excluded": [{"reason": "r", "count": 1}]}
        });
        json!({
            "envelope": envelope, "report_kind": "lab", "status": "final", "status_raw": "F", "report_no": "R1",
            "issued_at": "2026-11-22T08:00:05.125Z", "issued_at_raw": "x", "reviewed_by": "a", "concluded_by": "b",
            "examinee": {"examinee_key": "k", "name": "n", "sex": "undetermined", "sex_raw": "9",
                "birth_date": "1990-02-03", "birth_date_raw": "19900203", "id_type": "citizen_id", "id_number": "1",
                "id_checksum_ok": false, "phone": "1", "marital_status": "single", "marital_status_raw": "10"},
            "visit": {"visit_key": "v", "exam_no": "e", "visit_state": "in_progress", "visit_state_raw": "3",
                "registered_at": "2026-11-22T08:00:05-03:30", "registered_at_raw": "x", "exam_date": "2026-11-22",
                "exam_date_raw": "x", "stated_age": 36, "order_no": "o", "org_code": "c", "org_name": "n",
                "package_code": "p", "previous_exam_no": "q", "substitute": false,
                "ordered_groups": [{"group_code": "g", "origin": "add_on", "state": "swapped_out", "state_raw": "W"}]},
            "groups": [{"group_code": "g", "group_name": "G", "status": "preliminary", "status_raw": "P",
                "items": [item.clone(), item], "department": "d", "performer": "p", "reviewer": "r",
                "performed_at": "2026-11-22T08:00:05+08:00", "performed_at_raw": "x", "specimen_no": "s",
                "summary": "s"}],
            "conclusions": [{"seq": 1, "kind": "fitness", "text": "t", "code": "c", "severity": "s", "advice": "a",
                "source_items": ["i", "j"]}],
            "attachments": [{"kind": "dicom_ref", "media_type": "m", "size": 7, "digest": "d", "page_count": 2,
                "source_ref": "r"}],
        })
    }

    fn critical() -> Value {
        json!({
            "envelope": whole()["envelope"], "report_key": "r", "examinee_key": "k", "visit_key": "v", "exam_no": "e",
            "group_code": "g", "group_name": "G", "item_code": "i", "item_name": "n", "instance": "1",
            "value_raw": "9", "unit_raw": "u", "reference_raw": "1-2", "flag_source": "critical_low",
            "flag_source_raw": "LL", "observed_at": "2026-11-22T08:00:05+08:00", "observed_at_raw": "x",
            "department": "d", "specimen_no": "s"
        })
    }

    /// All places of members and elements in a value.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, inner) in members {
                    let at = format!("{at}/{name}");
                    places(inner, &at, found);
                    found.push(at);
                }
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(place, inner)| places(inner, &format!("{at}/{place}"), found));
            }
            _ => {}
        }
    }

    /// The value without some of the members that may be missing; lists are emptied instead of left out where they
    /// may not be.
    fn without(mut value: Value, entity: EntityType, out: &[bool]) -> Entity {
        let mut all = Vec::new();
        places(&value, "", &mut all);
        for (at, _) in all.iter().zip(out.iter().cycle()).filter(|(_, out)| **out) {
            let Some((parent, name)) = at.rsplit_once('/') else { continue };
            let before = value.clone();
            if let Some(Value::Object(members)) = value.pointer_mut(parent) {
                members.remove(name);
            }
            if Entity::from_json(entity, value.to_string().as_bytes()).is_err() {
                value = before;
                if let Some(Value::Array(list)) = value.pointer_mut(at) {
                    list.clear();
                }
            }
        }
        Entity::from_json(entity, value.to_string().as_bytes()).unwrap()
    }

    fn agrees(entity: &Entity) {
        let (known, sorted, other) = match entity {
            Entity::ExamReport(it) => (written(&**it), to_vec(it), serde_json_canonicalizer::to_vec(it)),
            Entity::CriticalValue(it) => (written(&**it), to_vec(it), serde_json_canonicalizer::to_vec(it)),
            _ => unreachable!("only these know their order"),
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let known = text(known.unwrap());
        assert_eq!(known, text(sorted.unwrap()));
        assert_eq!(known, text(other.unwrap()));
    }

    proptest! {
        #[test]
        fn what_knows_its_order_writes_the_bytes_of_what_is_sorted(out in prop::collection::vec(any::<bool>(), 1..97)) {
            agrees(&without(whole(), EntityType::ExamReport, &out));
            agrees(&without(critical(), EntityType::CriticalValue, &out));
        }

        #[test]
        fn times_are_written_as_chrono_writes_them(
            seconds in -70_000_000_000_i64..260_000_000_000,
            nanos in prop_oneof![Just(0_u32), 0..1_000_000_000_u32],
            offset in prop_oneof![Just(0), Just(8 * 3600), -86_399..86_399_i32],
        ) {
            let utc = DateTime::from_timestamp(seconds, nanos).unwrap();
            let time = utc.with_timezone(&FixedOffset::east_opt(offset).unwrap());
            prop_assert_eq!(written(&time).unwrap(), to_vec(&time).unwrap());
            let text = crate::model::canonical::time_text(time);
            prop_assert!(text.is_none_or(|text| text == time.to_rfc3339()));
            let day: NaiveDate = time.date_naive();
            prop_assert_eq!(written(&day).unwrap(), to_vec(&day).unwrap());
        }
    }

    #[test]
    fn all_and_none_of_what_may_be_missing() {
        for out in [false, true] {
            agrees(&without(whole(), EntityType::ExamReport, &[out]));
            agrees(&without(critical(), EntityType::CriticalValue, &[out]));
        }
    }
}
